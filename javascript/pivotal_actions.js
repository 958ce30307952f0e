// What a press of an element with data-pivotal-post does: its address under pivotal/v1/ gets, as JSON, data-pivotal-body and
// the named fields of the nearest data-pivotal-form. data-pivotal-confirm asks first. What went wrong is told beside it.
(function () {
    "use strict";

    const API = "pivotal/v1/";

    function fields(element) {
        const form = element.closest("[data-pivotal-form]");
        if (!form) return {};
        const found = {};
        for (const field of form.querySelectorAll("input[name], select[name], textarea[name]")) {
            if (field.type === "radio" && !field.checked) continue;
            found[field.name] = field.type === "checkbox" ? field.checked : field.value;
        }
        return found;
    }

    // The pressed element, or the one that was drawn in its place meanwhile.
    function standing(element) {
        if (element.isConnected) return element;
        const { pivotalPost, pivotalBody } = element.dataset;
        return Array.from(document.querySelectorAll("[data-pivotal-post]")).find(
            (one) => one.dataset.pivotalPost === pivotalPost && one.dataset.pivotalBody === pivotalBody) || element;
    }

    function told(element) {
        const form = element.closest("[data-pivotal-form]") || element.parentElement;
        let line = form.querySelector(":scope > .pivotal-told");
        if (!line) {
            line = document.createElement("div");
            line.className = "pivotal-told";
            line.setAttribute("role", "status");
            form.appendChild(line);
        }
        return line;
    }

    function tell(element, text, failed) {
        if (!element.parentElement) return;
        const line = told(element);
        line.textContent = text;
        line.classList.toggle("pivotal-error", Boolean(failed));
    }

    function sentences(answer) {
        return [...Object.entries(answer.problems || {}).map(([key, text]) => `${key}: ${text}`)].join("\n") || answer.error;
    }

    async function post(element) {
        if (element.getAttribute("aria-disabled") === "true") return;
        if (element.dataset.pivotalConfirm && !window.confirm(element.dataset.pivotalConfirm)) return;
        element.setAttribute("aria-disabled", "true"); // not disabled, which would take the focus away
        try {
            const body = { ...fields(element), ...JSON.parse(element.dataset.pivotalBody || "{}") };
            const reply = await fetch(API + element.dataset.pivotalPost, {
                method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
            });
            const answer = await reply.json();
            const now = standing(element);
            tell(now, reply.ok ? answer.text || "" : sentences(answer), !reply.ok);
            now.dispatchEvent(new CustomEvent("pivotal-posted", { bubbles: true, detail: { ok: reply.ok, answer } }));
        } catch (error) {
            tell(standing(element), "No answer from the server.", true);
        } finally {
            element.removeAttribute("aria-disabled");
            document.dispatchEvent(new Event("pivotal-poll"));
        }
    }

    document.addEventListener("click", (event) => {
        const element = event.target.closest && event.target.closest("[data-pivotal-post]");
        if (element) post(element);
    });
})();
