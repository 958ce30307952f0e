// Puts values into the form: those of a pressed element with data-pivotal-set, JSON {"batch.size": 2}, or of an event
// pivotal-set with them as its detail. The server does it, through a text box and a button of gradio that a style rule hides.
(function () {
    "use strict";

    const SETTLE_MS = 60; // gradio takes a text box's value a moment after its event

    function set(text) {
        const box = document.querySelector("#pivotal_set_values textarea, #pivotal_set_values input");
        const button = document.querySelector("button#pivotal_set, #pivotal_set button");
        if (!box || !button) return;
        box.value = text;
        box.dispatchEvent(new Event("input", { bubbles: true }));
        setTimeout(() => button.click(), SETTLE_MS);
    }

    document.addEventListener("click", (event) => {
        const element = event.target.closest && event.target.closest("[data-pivotal-set]");
        if (!element) return;
        set(element.dataset.pivotalSet);
        element.classList.add("pivotal-done");
    });
    document.addEventListener("pivotal-set", (event) => set(JSON.stringify(event.detail)));
})();
