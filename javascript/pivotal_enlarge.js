// One picture large over the page; arrow keys go to its neighbours, and two can be compared by a slider. Other scripts open it by
// window.pivotalEnlarge(picture, source). A picture is {address, text, x, y}; a source gives
//   all()          every picture there is
//   partner(now)   with what one is compared, or null
//   pinned(), pin(picture or null)   where pictures can be kept beside the others
(function () {
    "use strict";

    let view = null; // the overlay, while it is open

    function make(tag, name, parent, text) {
        const element = document.createElement(tag);
        element.className = name;
        if (text) element.textContent = text;
        parent.appendChild(element);
        return element;
    }

    function button(parent, text, press) {
        const element = make("button", "pivotal-small-button", parent, text);
        element.type = "button";
        element.addEventListener("click", press);
        return element;
    }

    function build(source) {
        const box = make("div", "pivotal-overlay", document.body);
        box.id = "pivotal_overlay";
        box.tabIndex = -1;
        box.setAttribute("role", "dialog");
        box.setAttribute("aria-modal", "true");
        box.setAttribute("aria-label", "Picture");
        const head = make("div", "pivotal-overlay-head", box);
        view = { box, source, before: document.activeElement, caption: make("div", "pivotal-overlay-caption", head) };
        view.compare = button(head, "Compare", () => { view.other = view.other ? null : source.partner(view.now); draw(); });
        if (source.pin) view.pin = button(head, "Pin", () => { source.pin(isPinned() ? null : view.now); draw(); });
        button(head, "Close", close);
        view.stage = make("div", "pivotal-overlay-stage", box);
        view.stage.addEventListener("click", (event) => { if (event.target === view.stage) close(); });
        box.focus();
    }

    function open(picture, source) {
        if (!view) build(source);
        view.now = picture;
        draw();
    }

    function isPinned() {
        const kept = view.source.pinned();
        return Boolean(kept && kept.address === view.now.address);
    }

    function image(name, parent, picture) {
        const element = make("img", name, parent);
        element.src = picture.address;
        element.alt = picture.text;
        return element;
    }

    function draw() {
        const { now, other } = view;
        view.caption.textContent = other ? `${other.text} | ${now.text}` : now.text;
        if (view.pin) view.pin.textContent = isPinned() ? "Unpin" : "Pin";
        view.compare.textContent = other ? "One only" : "Compare";
        const pair = make("div", "pivotal-pair", document.createElement("div"));
        image("", pair, now);
        if (other) {
            const above = image("pivotal-above", pair, other);
            const slider = make("input", "pivotal-divide", pair);
            Object.assign(slider, { type: "range", min: 0, max: 100, value: 50 });
            slider.setAttribute("aria-label", "How much of the left one is shown");
            const cut = () => { above.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`; };
            slider.addEventListener("input", cut);
            cut();
        }
        view.stage.replaceChildren(pair);
    }

    function close() {
        const { before, now } = view;
        view.box.remove();
        view = null;
        if (before && before.isConnected && before !== document.body) before.focus();
        else window.pivotalFocus.land(Array.from(document.links).find((link) => link.getAttribute("href") === now.address || link.href === now.address));
    }

    // The next picture of the same row or column.
    function neighbour(key) {
        const [along, across] = key === "ArrowLeft" || key === "ArrowRight" ? ["x", "y"] : ["y", "x"];
        const forward = key === "ArrowRight" || key === "ArrowDown";
        const here = view.now[along];
        const line = view.source.all().filter((one) => one[across] === view.now[across]
            && (forward ? one[along] > here : one[along] < here));
        return line.sort((a, b) => (forward ? 1 : -1) * (a[along] - b[along]))[0];
    }

    // Tab stays within the dialog.
    function keepFocus(event) {
        const stops = Array.from(view.box.querySelectorAll("button, input"));
        const [first, last] = event.shiftKey ? [stops[stops.length - 1], stops[0]] : [stops[0], stops[stops.length - 1]];
        if (document.activeElement !== last && document.activeElement !== view.box) return;
        event.preventDefault();
        first.focus();
    }

    document.addEventListener("keydown", (event) => {
        if (!view) return;
        if (event.key === "Escape") {
            event.stopPropagation();
            close();
        } else if (event.key.startsWith("Arrow") && !event.target.matches("input")) {
            event.preventDefault();
            event.stopPropagation();
            const next = neighbour(event.key);
            if (next) open(next, view.source);
        } else if (event.key === "Tab") {
            keepFocus(event);
        }
    }, true);

    window.pivotalEnlarge = open;
    // Whether a press of a link is ours: with a modifier it is the browser's.
    window.pivotalEnlarge.isPlain = (event) => !(event.ctrlKey || event.metaKey || event.shiftKey);
})();
