// Puts each problem's sentence under the field it belongs to. Problems are JSON, {"dataset.folder": "..."}, in the
// attribute data-pivotal-problems of the form's last answer, of the progress panel and of each tool's answer; a key is
// also an element's id.
(function () {
    "use strict";

    const TICK_MS = 300;
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
        return Object.fromEntries(Object.entries(problems).filter(
            ([key]) => !Object.entries(moved).some(([table, text]) => text === source && key.startsWith(table + "."))));
    }

    function wanted() {
        return Object.assign(ofTheForm(), ...Array.from(document.querySelectorAll("[data-pivotal-tool]"), parse));
    }

    // The editor of a table, or a field: gradio's, or a row's.
    function home(key) {
        const id = "pivotal_" + key.replace(/\./g, "_");
        return document.getElementById(id + "_editor") || document.getElementById(id);
    }

    function place() {
        const problems = wanted();
        for (const old of document.querySelectorAll(".pivotal-problem")) {
            if (problems[old.dataset.key] !== old.textContent) old.remove();
        }
        for (const [key, text] of Object.entries(problems)) {
            const field = key && home(key);
            if (!field || field.querySelector(`.pivotal-problem[data-key="${key}"]`)) continue;
            const line = document.createElement("div");
            line.className = "pivotal-error pivotal-problem";
            line.setAttribute("role", "alert");
            line.dataset.key = key;
            line.textContent = text;
            field.appendChild(line);
        }
    }

    document.addEventListener("pivotal-rows-moved", (event) => {
        const answer = document.querySelector("[data-pivotal-answer]");
        if (answer) moved[event.detail] = JSON.stringify(parse(answer));
    });
    setInterval(place, TICK_MS);
})();
