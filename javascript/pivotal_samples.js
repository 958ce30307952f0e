// Enlarges samples, compares two of them, and keeps one pinned above the others. The samples are links in figures with
// data-step and data-column (their prompt), or in a table with a step a row and a prompt a column. Left and right go through
// the steps, up and down through the prompts.
(function () {
    "use strict";

    const PINNED = "pivotal-pinned-sample";
    let view = null; // the overlay, while it is open

    const LINKS = "#pivotal_samples a[href*='job/samples/']";

    function all() {
        return Array.from(document.querySelectorAll(LINKS)).filter((link) => !link.closest(".pivotal-pin"));
    }

    // Of a link: which step and prompt it shows, and the prompt's words.
    function facts(link) {
        const figure = link.closest("figure"), cell = link.closest("td");
        const head = cell && cell.closest("table").tHead.rows[0].cells[cell.cellIndex];
        const column = Number((figure || head).dataset.column), step = Number((figure || cell.parentElement).dataset.step);
        const prompt = figure ? figure.querySelector("figcaption").title : head.title;
        return { step, column, address: link.getAttribute("href"), text: `${step ? `step ${step}` : "before training"}: ${prompt}` };
    }

    // Where a key leads: another step of the same prompt, or another prompt of the same step.
    function neighbour(now, key) {
        const others = all().map(facts); // a thousand, in a few milliseconds
        const along = key === "ArrowLeft" || key === "ArrowRight" ? "step" : "column";
        const fixed = along === "step" ? "column" : "step";
        const forward = key === "ArrowRight" || key === "ArrowDown";
        const line = others.filter((other) => other[fixed] === now[fixed] && (forward ? other[along] > now[along] : other[along] < now[along]));
        return line.sort((a, b) => (forward ? 1 : -1) * (a[along] - b[along]))[0];
    }

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

    function open(sample) {
        if (!view) {
            const box = make("div", "pivotal-overlay", document.body);
            box.id = "pivotal_overlay";
            box.tabIndex = -1;
            box.setAttribute("role", "dialog");
            box.setAttribute("aria-modal", "true");
            box.setAttribute("aria-label", "Sample");
            const head = make("div", "pivotal-overlay-head", box);
            view = { box, before: document.activeElement, caption: make("div", "pivotal-overlay-caption", head) };
            view.compare = button(head, "Compare", () => { view.other = view.other ? null : partner(); draw(); });
            view.pin = button(head, "Pin", () => { pin(isPinned(view.now) ? null : view.now); draw(); });
            button(head, "Close", close);
            view.stage = make("div", "pivotal-overlay-stage", box);
            view.stage.addEventListener("click", (event) => { if (event.target === view.stage) close(); });
            box.focus();
        }
        view.now = sample;
        draw();
    }

    // With what a sample is compared: the pinned one, else the first of its prompt.
    function partner() {
        const kept = pinned();
        if (kept && kept.address !== view.now.address) return kept;
        return all().map(facts).filter((other) => other.column === view.now.column && other.address !== view.now.address)
            .sort((a, b) => a.step - b.step)[0] || null;
    }

    function draw() {
        const { now, other } = view;
        view.caption.textContent = other ? `${other.text} | ${now.text}` : now.text;
        view.pin.textContent = isPinned(now) ? "Unpin" : "Pin";
        view.compare.textContent = other ? "One only" : "Compare";
        const pair = make("div", "pivotal-pair", document.createElement("div"));
        const image = make("img", "", pair);
        image.src = now.address;
        image.alt = now.text;
        if (other) {
            const above = make("img", "pivotal-above", pair);
            above.src = other.address;
            above.alt = other.text;
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
        view.box.remove();
        if (view.before && view.before.isConnected) view.before.focus();
        view = null;
    }

    function pinned() {
        try {
            return JSON.parse(localStorage.getItem(PINNED));
        } catch (error) {
            return null;
        }
    }

    function isPinned(sample) {
        const kept = pinned();
        return Boolean(kept && kept.address === sample.address);
    }

    function pin(sample) {
        try {
            if (sample) localStorage.setItem(PINNED, JSON.stringify(sample));
            else localStorage.removeItem(PINNED);
        } catch (error) { // a browser that keeps nothing
        }
        showPin();
    }

    // The server leaves the place empty, as it does not know what this browser has pinned.
    function showPin() {
        const place = document.querySelector("#pivotal_samples .pivotal-pin");
        if (!place) return;
        const kept = pinned();
        const shown = kept && kept.address.endsWith(`run=${place.dataset.run}`) ? kept : null;
        if (place.dataset.shown === (shown ? shown.address : "")) return;
        place.dataset.shown = shown ? shown.address : "";
        place.replaceChildren();
        if (!shown) return;
        const figure = make("figure", "", place);
        const link = make("a", "", figure);
        link.href = shown.address;
        const image = make("img", "", link);
        image.src = `${shown.address}&small=384`;
        image.alt = shown.text;
        make("figcaption", "", figure, `Pinned, ${shown.text}`);
    }

    document.addEventListener("click", (event) => {
        const link = event.target.closest && event.target.closest(LINKS);
        if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        open(link.closest(".pivotal-pin") ? pinned() : facts(link));
    });
    document.addEventListener("keydown", (event) => {
        if (!view) return;
        if (event.key === "Escape") {
            event.stopPropagation();
            close();
        } else if (event.key.startsWith("Arrow") && !event.target.matches("input")) {
            event.preventDefault();
            const next = neighbour(view.now, event.key);
            if (next) open(next);
        } else if (event.key === "Tab") { // stays within the dialog
            const stops = Array.from(view.box.querySelectorAll("button, input"));
            const last = event.shiftKey ? stops[0] : stops[stops.length - 1];
            if (document.activeElement === last || document.activeElement === view.box) {
                event.preventDefault();
                (event.shiftKey ? stops[stops.length - 1] : stops[0]).focus();
            }
        }
    }, true);
    setInterval(showPin, 1000);
    document.addEventListener("pivotal-shown", showPin);
})();
