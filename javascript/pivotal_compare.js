// The Compare page: files added to a box by a press, images enlarged and walked through by the arrow keys, and pages brought
// to the front, by a press (data-pivotal-show) or when something was posted (data-pivotal-goto).
(function () {
    "use strict";

    const PAGES = "#pivotal_pages";

    function showPage(name) {
        const panel = document.getElementById(`pivotal_page_${name}`);
        const wanted = panel && (panel.getAttribute("aria-labelledby") || "");
        const byId = wanted && document.getElementById(wanted);
        const tabs = Array.from(document.querySelectorAll(`${PAGES} [role=tab], ${PAGES} > .tab-nav > button`));
        const tab = byId || tabs.find((one) => one.textContent.trim().toLowerCase() === name);
        if (tab) tab.click();
    }

    function add(button) {
        const box = document.getElementById(button.dataset.pivotalAdd);
        if (!box) return;
        const lines = box.value.split("\n").map((line) => line.trim()).filter(Boolean);
        if (!lines.includes(button.dataset.pivotalLine)) lines.push(button.dataset.pivotalLine);
        box.value = lines.join("\n");
    }

    // One overlay for the whole page: it lies over everything, and goes with Escape.
    let overlay = null;
    let shown = null;

    function make() {
        overlay = document.createElement("div");
        overlay.className = "pivotal-enlarged";
        overlay.setAttribute("role", "dialog");
        overlay.setAttribute("aria-modal", "true");
        overlay.tabIndex = -1;
        overlay.append(document.createElement("img"), document.createElement("p"));
        overlay.addEventListener("click", close);
        document.body.appendChild(overlay);
    }

    function enlarge(link) {
        if (!overlay) make();
        shown = link;
        const small = link.querySelector("img");
        overlay.querySelector("img").src = link.href;
        overlay.querySelector("img").alt = small.alt;
        overlay.querySelector("p").textContent = small.alt;
        overlay.classList.add("pivotal-open");
        overlay.focus();
    }

    function close() {
        overlay.classList.remove("pivotal-open");
        if (shown && shown.isConnected) shown.focus();
        shown = null;
    }

    // Left and right within a row, up and down within a column.
    function walk(key) {
        const table = shown && shown.closest("table");
        if (!table) return;
        const rows = Array.from(table.querySelectorAll("tbody tr")).map((row) => Array.from(row.querySelectorAll("td")));
        const y = rows.findIndex((row) => row.some((cell) => cell.contains(shown)));
        const x = rows[y].findIndex((cell) => cell.contains(shown));
        const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
        const link = rows[y + dy] && rows[y + dy][x + dx] && rows[y + dy][x + dx].querySelector("a");
        if (link) enlarge(link);
    }

    document.addEventListener("keydown", (event) => {
        if (!shown) return;
        if (event.key === "Escape") close();
        else if (event.key.startsWith("Arrow")) walk(event.key);
        else return;
        event.preventDefault();
        event.stopPropagation();
    }, true);

    document.addEventListener("click", (event) => {
        if (!event.target.closest) return;
        const adding = event.target.closest("[data-pivotal-add]");
        const link = event.target.closest("a[data-pivotal-enlarge]");
        if (adding) add(adding);
        const going = event.target.closest("[data-pivotal-show]");
        if (going) showPage(going.dataset.pivotalShow);
        if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
            event.preventDefault();
            enlarge(link);
        }
    });

    document.addEventListener("pivotal-posted", (event) => {
        if (!event.detail.ok || !event.target.dataset.pivotalGoto) return;
        const run = document.getElementById("pivotal_compare_run");
        const body = JSON.parse(event.target.dataset.pivotalBody || "{}");
        if (run && body.run) run.value = body.run; // to be drawn again with other prompts
        showPage(event.target.dataset.pivotalGoto);
    });
})();
