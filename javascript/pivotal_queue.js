// The Queue page's buttons that fill the form in: data-pivotal-fill says, as JSON, with which run. The server does it, through a
// text box and a button of gradio that a style rule hides.
(function () {
    "use strict";

    const SETTLE_MS = 80; // gradio takes a text box's value over a moment after its event

    function write(text) {
        const box = document.querySelector("#pivotal_queue_entry textarea, #pivotal_queue_entry input");
        if (!box) return false;
        box.value = text;
        box.dispatchEvent(new Event("input", { bubbles: true }));
        return true;
    }

    function showForm() {
        const named = document.getElementById("pivotal_page_run-button");
        const tab = named || document.querySelector("#pivotal_pages > .tab-nav > button, #pivotal_pages [role=tab]");
        if (!tab) return;
        tab.click();
        tab.focus();
    }

    document.addEventListener("click", (event) => {
        if (!event.target.closest) return;
        const filling = event.target.closest("[data-pivotal-fill]");
        if (filling && write(filling.dataset.pivotalFill)) {
            showForm();
            const button = document.querySelector("button#pivotal_queue_load, #pivotal_queue_load button");
            setTimeout(() => button && button.click(), SETTLE_MS);
        }
        const leaving = event.target.closest("[data-pivotal-leave]");
        if (leaving && write("")) leaving.closest(".pivotal-editing").remove();
    });
})();
