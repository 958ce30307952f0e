// Enlarges samples (javascript/pivotal_enlarge.js), and keeps one pinned above the others. The samples are links in figures with
// data-step and data-column (their prompt), or in a table with a step a row and a prompt a column. Left and right go through
// the steps, up and down through the prompts.
(function () {
    "use strict";

    const PINNED = "pivotal-pinned-sample";
    const LINKS = "#pivotal_samples a[href*='job/samples/']";

    // Of a link: which step (x) and prompt (y) it shows, and the prompt's words.
    function facts(link) {
        const figure = link.closest("figure"), cell = link.closest("td");
        const head = cell && cell.closest("table").tHead.rows[0].cells[cell.cellIndex];
        const y = Number((figure || head).dataset.column), x = Number((figure || cell.parentElement).dataset.step);
        const prompt = figure ? figure.querySelector("figcaption").title : head.title;
        return { x, y, address: link.getAttribute("href"), text: `${x ? `step ${x}` : "before training"}: ${prompt}` };
    }

    function all() { // a thousand, in a few milliseconds
        return Array.from(document.querySelectorAll(LINKS)).filter((link) => !link.closest(".pivotal-pin")).map(facts);
    }

    // With what a sample is compared: the pinned one, else the first of its prompt.
    function partner(now) {
        const kept = pinned();
        if (kept && kept.address !== now.address) return kept;
        return all().filter((other) => other.y === now.y && other.address !== now.address).sort((a, b) => a.x - b.x)[0] || null;
    }

    function pinned() {
        try {
            return JSON.parse(localStorage.getItem(PINNED));
        } catch (error) {
            return null;
        }
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
        if (shown) place.append(pinnedFigure(shown));
    }

    function pinnedFigure(shown) {
        const figure = document.createElement("figure");
        const link = document.createElement("a");
        link.href = shown.address;
        const image = document.createElement("img");
        image.src = `${shown.address}&small=384`;
        image.alt = shown.text;
        link.append(image);
        const caption = document.createElement("figcaption");
        caption.textContent = `Pinned, ${shown.text}`;
        figure.append(link, caption);
        return figure;
    }

    document.addEventListener("click", (event) => {
        const link = event.target.closest && event.target.closest(LINKS);
        if (!link || !window.pivotalEnlarge.isPlain(event)) return;
        event.preventDefault();
        window.pivotalEnlarge(link.closest(".pivotal-pin") ? pinned() : facts(link), { all, partner, pinned, pin });
    });
    document.addEventListener("pivotal-shown", showPin);
})();
