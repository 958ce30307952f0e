// Puts each problem's sentence under the field it belongs to. Problems are JSON, {"dataset.folder": "..."}, in the
// attribute data-pivotal-problems of the form's last answer, of the progress panel and of each tool's answer; a key is
// also an element's id.
(function () {
    "use strict";

    let pressed = ""; // the problems of the last press
    let typed = new Set(); // keys of these whose field was typed in since
    let moved = {}; // table -> the answer whose rows have since been moved, so that its row numbers are void

    function parse(element) {
        try {
            return JSON.parse(element.dataset.pivotalProblems || "{}");
        } catch (error) {
            return {};
        }
    }

    // The form's answer counts until the run that it started has failed; that run's problems count after it.
    function ofTheForm() {
        const answer = document.querySelector("[data-pivotal-answer]");
        const panel = document.querySelector("[data-pivotal-source$=\"panel/job\"]");
        if (!answer) return {};
        const later = panel && panel.dataset.pivotalRun && panel.dataset.pivotalRun !== answer.dataset.pivotalAnswer;
        const problems = later ? parse(panel) : parse(answer);
        const source = JSON.stringify(problems);
        if (source !== pressed) typed = new Set();
        pressed = source;
        return Object.fromEntries(Object.entries(problems).filter(([key]) => !typed.has(key)
            && !Object.entries(moved).some(([table, text]) => text === source && key.startsWith(table + "."))));
    }

    // What the check while typing says (javascript/pivotal_live.js); of a field that was typed in since, it alone counts.
    function live() {
        const page = document.querySelector("[data-pivotal-live]");
        return page ? JSON.parse(page.dataset.pivotalLive) : {};
    }

    function keyOf(element) {
        const named = element.closest("[id^=pivotal_][id$=_box]") || element.closest(".pivotal-field[id]");
        const id = named ? named.id.replace(/_box$/, "") : "";
        return Array.from(Object.keys(JSON.parse(pressed || "{}"))).find((key) => "pivotal_" + key.replace(/\./g, "_") === id);
    }

    function wanted() {
        return Object.assign(ofTheForm(), live(), ...Array.from(document.querySelectorAll("[data-pivotal-tool]"), parse));
    }

    // The editor of a table, or a field: gradio's, or a row's.
    function home(key) {
        const id = "pivotal_" + key.replace(/\./g, "_");
        return document.getElementById(id + "_editor") || document.getElementById(id);
    }

    function place() {
        const problems = wanted();
        for (const old of document.querySelectorAll(".pivotal-problem")) {
            if (problems[old.dataset.key] !== old.dataset.source) old.remove(); // not its text, which the host may translate
        }
        for (const [key, text] of Object.entries(problems)) {
            const field = key && home(key);
            if (!field || field.querySelector(`.pivotal-problem[data-key="${key}"]`)) continue;
            const line = document.createElement("div");
            line.className = "pivotal-error pivotal-problem";
            line.setAttribute("role", "alert");
            line.dataset.key = key;
            line.dataset.source = line.textContent = text;
            field.appendChild(line);
        }
    }

    document.addEventListener("pivotal-rows-moved", (event) => {
        const answer = document.querySelector("[data-pivotal-answer]");
        if (answer) moved[event.detail] = JSON.stringify(parse(answer));
    });
    document.addEventListener("input", (event) => {
        const key = event.target.closest && keyOf(event.target);
        if (key) typed.add(key);
    });
    document.addEventListener("pivotal-problems", place);
    document.addEventListener("pivotal-tick", place);
})();
