// Where the keyboard is: it stays there when a part of the page is drawn anew, and what gradio 3 keeps from it is mended. Other
// scripts use window.pivotalFocus:
//   within(root)      notes what has the focus in root; the function returned gives it back, or to what took its place
//   land(element)     gives the focus to an element, if there is one
(function () {
    "use strict";

    const STOPS = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
    const NAMED = ["data-pivotal-post", "data-pivotal-body", "data-pivotal-ask", "data-pivotal-fill", "data-pivotal-add",
        "data-pivotal-line", "data-pivotal-show", "data-pivotal-caption", "href", "name"];
    const CHOICES = "[data-pivotal-ask]:is(button)"; // of these only the value tells one from another

    function stops(root) {
        return Array.from(root.querySelectorAll(STOPS)).filter((one) => !one.disabled && one.getClientRects().length);
    }

    // What is the same of an element and of the one that is drawn in its place.
    function key(element, withValue) {
        const fold = element.tagName === "SUMMARY" ? element.parentElement.dataset.fold || element.textContent : "";
        const near = element.closest("[id]"), part = element.closest("[data-part]");
        const value = withValue && element.matches(CHOICES) ? element.value : "";
        return [element.tagName, near && near.id, part && part.dataset.part, fold, value, ...(element.className || "").split(" ").slice(0, 3),
            ...NAMED.map((name) => element.getAttribute(name))].join("\n");
    }

    function nearest(all, index) {
        return all.reduce((best, one) => (!best || Math.abs(one[1] - index) < Math.abs(best[1] - index) ? one : best), null);
    }

    function land(element) {
        if (element) element.focus();
    }

    function within(root) {
        const held = document.activeElement;
        if (!held || held === document.body || held === root || !root.contains(held)) return () => {};
        const keys = [key(held, true), key(held, false)];
        const part = held.closest("[data-part]");
        const name = part && part.dataset.part;
        const index = stops(root).indexOf(held);
        const inPart = part ? stops(part).indexOf(held) : 0;
        return () => {
            if (held.isConnected && !held.disabled && root.contains(held)) {
                if (document.activeElement === document.body) held.focus({ preventScroll: true });
                return;
            }
            const all = stops(root).map((one, place) => [one, place]);
            const same = (withValue) => all.filter(([one]) => key(one, withValue) === keys[withValue ? 0 : 1]);
            const again = name && Array.from(root.children).find((one) => one.dataset.part === name);
            const found = nearest(same(true), index) || nearest(same(false), index)
                || (again && nearest(stops(again).map((one, place) => [one, place]), inPart)) || nearest(all, index);
            if (found) found[0].focus({ preventScroll: true }); // a part that is drawn anew does not move the page
        };
    }

    // gradio 3 folds by a div that only a mouse can press, later ones by a button; its sliders' numbers have no name.
    function mend() {
        for (const header of document.querySelectorAll("#pivotal_pages div.label-wrap")) {
            header.tabIndex = 0;
            header.setAttribute("role", "button");
            const isOpen = String(header.classList.contains("open"));
            if (header.getAttribute("aria-expanded") !== isOpen) header.setAttribute("aria-expanded", isOpen);
        }
        for (const number of document.querySelectorAll("#pivotal_pages .head > input[type=number]:not([aria-label])")) {
            const label = number.parentElement.querySelector("label");
            if (label) number.setAttribute("aria-label", label.textContent.trim());
        }
    }

    document.addEventListener("keydown", (event) => {
        const header = event.target.matches && event.target.matches("#pivotal_pages div.label-wrap") && event.target;
        if (!header || (event.key !== "Enter" && event.key !== " ")) return;
        event.preventDefault();
        header.click();
        setTimeout(mend, 50);
    });
    document.addEventListener("pivotal-slow-tick", mend);
    window.pivotalFocus = { within, land };
})();
