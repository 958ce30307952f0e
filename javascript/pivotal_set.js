// Puts values into the form: those of a pressed element with data-pivotal-set, JSON {"batch.size": 2}, or of an event
// pivotal-set with them as its detail. The server does it, through a text box and a button of gradio that a style rule hides;
// other scripts use such pairs, too, by window.pivotalAsk(id of the box, its text, id of the button or none).
(function () {
    "use strict";

    const SETTLE_MS = 80; // gradio takes a text box's value over a moment after its event

    function ask(boxId, text, buttonId) {
        const box = document.querySelector(`#${boxId} textarea, #${boxId} input`);
        if (!box) return false;
        box.value = text;
        box.dispatchEvent(new Event("input", { bubbles: true }));
        const button = buttonId && document.querySelector(`button#${buttonId}, #${buttonId} button`);
        if (button) setTimeout(() => button.click(), SETTLE_MS);
        return true;
    }

    function set(text) {
        ask("pivotal_set_values", text, "pivotal_set");
    }

    document.addEventListener("click", (event) => {
        const element = event.target.closest && event.target.closest("[data-pivotal-set]");
        if (!element) return;
        set(element.dataset.pivotalSet);
        element.classList.add("pivotal-done");
    });
    document.addEventListener("pivotal-set", (event) => set(JSON.stringify(event.detail)));
    window.pivotalAsk = ask;
})();
