// Knows the form's options and their values as they stand, and has them checked as one types. Other scripts hear of every
// change by the event pivotal-values, whose detail is {"length.steps": "500", ...}, and find the rest in window.pivotalForm;
// gradio 6 draws a section only once it is opened, so what it was filled with comes from #pivotal_values. The run file in the
// page is kept like the form, and the form like an edited run file.
(function () {
    "use strict";

    const API = "pivotal/v1/";
    const TYPED_MS = 40;
    const EDITED_MS = 700;
    const FIRST_TRIES = 3;
    let source = "";
    let options = [];
    let last = "";
    let request = null;
    let usual = null; // the answer for the form before anybody typed, or its promise: an empty folder is none to be told at once
    let timer = null;
    let typed = 0; // when
    let mirrored = "";

    // All that the page says of its options (ui/finder.py); empty until the form is drawn.
    function read() {
        const element = document.querySelector("[data-pivotal-options]");
        const text = element ? element.dataset.pivotalOptions : "[]";
        if (text !== source) {
            source = text;
            options = JSON.parse(text);
        }
        return options;
    }

    // By its id first: a selector of several looks through all of the page, several times a second.
    function textIn(id) {
        const box = document.getElementById(id);
        return box && box.querySelector("textarea, input");
    }

    function field(option) {
        const box = document.getElementById(option.id);
        return box && box.querySelector("textarea, input:not([type=range])");
    }

    // What a field shows; of one that is not drawn, what it was filled with.
    function valueOf(option, found) {
        const input = field(option);
        return !input ? found[option.key] : input.type === "checkbox" ? input.checked : input.value;
    }

    function table(name) {
        const box = textIn(`pivotal_${name}`);
        return box ? box.value : null;
    }

    // Every option's value by its key; tables as the JSON of their rows.
    function values() {
        const known = textIn("pivotal_values");
        if (!known || !read().length) return null;
        let found;
        try {
            found = JSON.parse(known.value || "{}");
        } catch (error) {
            return null;
        }
        const keys = new Set(options.map((option) => option.key));
        for (const option of options) {
            const value = valueOf(option, found);
            if (value !== undefined) found[option.key] = value;
        }
        for (const name of Object.keys(found)) {
            if (!keys.has(name) && table(name) !== null) found[name] = table(name);
        }
        return found;
    }

    // As the API takes it: rows that are switched off are not of the run.
    function body(found) {
        const flat = {};
        const keys = new Set(options.map((option) => option.key));
        for (const [name, value] of Object.entries(found)) {
            if (keys.has(name)) flat[name] = value;
            else rowsOf(value).forEach((row, index) => {
                for (const [part, inner] of Object.entries(row)) flat[`${name}.${index}.${part}`] = inner;
            });
        }
        return flat;
    }

    function rowsOf(text) {
        try {
            return JSON.parse(text || "[]").filter((row) => !row.off).map(({ off, ...row }) => row);
        } catch (error) {
            return [];
        }
    }

    async function post(address, content, signal) {
        const reply = await fetch(API + address, {
            method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content), signal: signal,
        });
        return reply.ok ? reply.json() : null;
    }

    function tell(problems) {
        const page = document.getElementById("pivotal_page");
        if (!page) return;
        page.dataset.pivotalLive = JSON.stringify(problems);
        document.dispatchEvent(new Event("pivotal-problems"));
    }

    async function check(found) {
        if (request) request.abort();
        const own = new AbortController();
        request = own;
        const content = { options: body(found), quick: true };
        const isFirst = usual === null;
        if (isFirst) usual = post("check", content).catch(() => null); // never cut off, as all later answers are compared with it
        try {
            const [before, answer] = await Promise.all([usual, isFirst ? usual : post("check", content, own.signal)]);
            if (!before) usual = null; // nobody answered: the next change is the first
            if (!before || !answer || own !== request) return;
            tell(Object.fromEntries(Object.entries(answer.problems).filter(([key, text]) => before.problems[key] !== text)));
        } catch (error) {
            // a newer text is being checked, or the server is away, which the progress panel tells
        }
    }

    function look() {
        timer = null;
        const found = values();
        if (!found) return;
        const text = JSON.stringify(found);
        const area = runFile();
        if (text !== last) {
            last = text;
            check(found); // first: its answer is what one waits for
            document.dispatchEvent(new CustomEvent("pivotal-values", { detail: found }));
            mirror(found);
        } else if (area && !area.value && (area.pivotalTries = (area.pivotalTries || 0) + 1) <= FIRST_TRIES) {
            mirror(found); // its section was opened just now; gradio 6 empties it once more a moment later
        }
    }

    // ---- the run file

    function runFile() {
        return textIn("pivotal_run_file");
    }

    function isMirrored() {
        const box = document.querySelector("[data-pivotal-mirror]");
        return Boolean(box && box.value !== "off");
    }

    async function mirror(found) {
        const area = runFile();
        // What was typed there and could not be taken over stays, with its problems under it.
        const isBad = area && area.value.trim() && area.value !== mirrored && document.querySelector("#pivotal_imported .pivotal-error");
        if (!area || isBad || !isMirrored() || document.activeElement === area) return;
        const all = document.querySelector("[data-pivotal-mirror]").value === "all";
        const answer = await post("run_file", { options: body(found), all: all }).catch(() => null);
        if (!answer || document.activeElement === area || answer.text === area.value) return;
        mirrored = answer.text;
        area.value = answer.text;
        area.dispatchEvent(new Event("input", { bubbles: true }));
    }

    let editing = null;
    function edited(area) {
        clearTimeout(editing);
        editing = setTimeout(() => {
            const button = document.querySelector("button#pivotal_from_run_file, #pivotal_from_run_file button");
            if (button && isMirrored() && area.value.trim() && area.value !== mirrored) button.click();
        }, EDITED_MS);
    }

    document.addEventListener("input", (event) => {
        const target = event.target;
        if (!target.closest || !target.closest("#pivotal_page")) return;
        if (target.closest("#pivotal_run_file")) {
            if (document.activeElement === target) edited(target);
            return;
        }
        // A letter at once, more a moment later: gradio 4 is busy for a tenth of a second after each; the server answers meanwhile.
        const pause = Date.now() - typed;
        typed = Date.now();
        if (timer === null && pause > TYPED_MS) look();
        else if (timer === null) timer = setTimeout(look, TYPED_MS);
    });
    document.addEventListener("change", (event) => {
        if (!event.target.matches || !event.target.matches("[data-pivotal-mirror]")) return;
        const found = values();
        if (found) mirror(found);
    });
    document.addEventListener("pivotal-tick", () => { if (timer === null) look(); });
    window.pivotalForm = { options: read, valueOf };
})();
