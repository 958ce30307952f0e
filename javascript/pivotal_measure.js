// Says that a measurement goes on, until its answer is there: it may take a minute, and gradio tells nothing of it.
(function () {
    "use strict";

    document.addEventListener("click", (event) => {
        const button = event.target.closest && event.target.closest("#pivotal_measure");
        const answer = document.getElementById("pivotal_answer");
        if (!button || !answer || document.querySelector(".pivotal-measuring")) return;
        const note = document.createElement("div");
        note.className = "pivotal-note pivotal-measuring";
        note.setAttribute("role", "status");
        note.textContent = "Measuring: a few steps of the run are done on the largest images, and nothing of them stays ...";
        answer.before(note);
        const watcher = new MutationObserver(() => {
            watcher.disconnect();
            note.remove();
        });
        watcher.observe(answer, { childList: true, subtree: true, characterData: true });
    });
})();
