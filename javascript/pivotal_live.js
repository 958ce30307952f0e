// Knows the form's values as they stand, and has them checked as one types. Other scripts hear of every change by the event
// pivotal-values, whose detail is {"length.steps": "500", ...}; gradio 6 draws a section only once it is opened, so what it was
// filled with comes from #pivotal_values. The run file in the page is kept like the form, and the form like an edited run file.
(function () {
    "use strict";

    const API = "pivotal/v1/";
    const TYPED_MS = 40;
    const TICK_MS = 400; // gradio writes into its boxes without an event
    const EDITED_MS = 700;
    let source = "";
    let options = [];
    let last = "";
    let request = null;
    let usual = null; // problems of the form before anybody typed: an empty folder is none to be told at once
    let timer = null;
    let mirrored = "";

    function read() {
        const element = document.querySelector("[data-pivotal-options]");
        if (!element) return false;
        if (element.dataset.pivotalOptions !== source) {
            source = element.dataset.pivotalOptions;
            options = JSON.parse(source);
        }
        return true;
    }

    function holder() {
        return document.querySelector("#pivotal_values textarea, #pivotal_values input");
    }

    function field(id) {
        const box = document.getElementById(id);
        return box && box.querySelector("textarea, input:not([type=range])");
    }

    function table(name) {
        const box = document.querySelector(`#pivotal_${name} textarea, #pivotal_${name} input`);
        return box ? box.value : null;
    }

    // Every option's value by its key; tables as the JSON of their rows.
    function values() {
        const known = holder();
        if (!known || !read()) return null;
        let found;
        try {
            found = JSON.parse(known.value || "{}");
        } catch (error) {
            return null;
        }
        const keys = new Set(options.map((option) => option.key));
        for (const option of options) {
            const input = field(option.id);
            if (input) found[option.key] = input.type === "checkbox" ? input.checked : input.value;
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
        request = new AbortController();
        const own = request;
        try {
            const answer = await post("check", { options: body(found), quick: true }, own.signal);
            if (!answer || own !== request) return;
            if (usual === null) usual = answer.problems;
            tell(Object.fromEntries(Object.entries(answer.problems).filter(([key, text]) => usual[key] !== text)));
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
        if (area && !area.value && !area.pivotalMirrored) { // its section was opened just now
            area.pivotalMirrored = true;
            mirror(found);
        }
        if (text === last) return;
        last = text;
        document.dispatchEvent(new CustomEvent("pivotal-values", { detail: found }));
        check(found);
        mirror(found);
    }

    // ---- the run file

    function runFile() {
        return document.querySelector("#pivotal_run_file textarea");
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
        if (timer === null) timer = setTimeout(look, TYPED_MS);
    });
    document.addEventListener("change", (event) => {
        if (!event.target.matches || !event.target.matches("[data-pivotal-mirror]")) return;
        const found = values();
        if (found) mirror(found);
    });
    setInterval(look, TICK_MS);
})();
