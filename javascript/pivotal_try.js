// An element with data-pivotal-try puts that prompt into the host's txt2img and brings it to the front; one with
// data-pivotal-copy copies its text.
(function () {
    "use strict";

    const TOLD_MS = 1500;

    // All WebUIs of A1111's kind, and the embedded one, name the box so; some wrap the page in a shadow root.
    function promptBox() {
        const root = typeof window.gradioApp === "function" ? window.gradioApp() : document;
        return root.querySelector("#txt2img_prompt textarea") || document.querySelector("#txt2img_prompt textarea");
    }

    // The host's own way if it has one; else the tab whose panel the box lies in.
    function bringToFront(box) {
        if (typeof window.switch_to_txt2img === "function") {
            window.switch_to_txt2img();
            return;
        }
        const tabs = Array.from(document.querySelectorAll("#tabs [role=tab], #tabs > .tab-nav > button"));
        const wanted = tabs.find((tab) => tab.textContent.trim().toLowerCase() === "txt2img");
        if (wanted && !box.offsetParent) wanted.click();
    }

    function tryPrompt(element) {
        const box = promptBox();
        if (!box) {
            tell(element, "This page has no txt2img prompt.");
            return;
        }
        box.value = element.dataset.pivotalTry;
        // gradio 3 reads the event's target; A1111's own scripts listen for the same event (ui.js, updateInput)
        const event = new Event("input", { bubbles: true });
        Object.defineProperty(event, "target", { value: box });
        box.dispatchEvent(event);
        bringToFront(box);
        window.scrollTo({ top: 0 });
        box.focus();
    }

    async function copy(element) {
        const text = element.dataset.pivotalCopy;
        try {
            await navigator.clipboard.writeText(text);
        } catch (error) { // a page over plain http from another machine has no clipboard
            const area = document.createElement("textarea");
            area.value = text;
            area.style.position = "fixed";
            document.body.appendChild(area);
            area.select();
            document.execCommand("copy");
            area.remove();
        }
        tell(element, "Copied");
    }

    function tell(element, words) {
        if (element.dataset.pivotalWords === undefined) element.dataset.pivotalWords = element.textContent;
        element.textContent = words;
        clearTimeout(element.pivotalTold);
        element.pivotalTold = setTimeout(() => { element.textContent = element.dataset.pivotalWords; }, TOLD_MS);
    }

    document.addEventListener("click", (event) => {
        if (!event.target.closest) return;
        const trying = event.target.closest("[data-pivotal-try]");
        const copying = event.target.closest("[data-pivotal-copy]");
        if (trying) tryPrompt(trying);
        else if (copying) copy(copying);
    });
})();
