// The Compare page: files added to a box by a press, images enlarged (javascript/pivotal_enlarge.js), and pages brought to the
// front, by a press (data-pivotal-show), when something was posted (data-pivotal-goto), or by window.pivotalShowPage("run").
(function () {
    "use strict";

    const PAGES = "#pivotal_pages";

    // Later gradios give a tab's button an id; 3 has buttons without, in the order of the pages.
    function showPage(name) {
        const wanted = `pivotal_page_${name}`;
        const own = document.getElementById(`${wanted}-button`);
        const pages = Array.from(document.querySelectorAll(`${PAGES} [id^=pivotal_page_]:not(button)`));
        const tabs = document.querySelectorAll(`${PAGES} > .tab-nav > button`);
        const tab = own || tabs[pages.findIndex((page) => page.id === wanted)];
        if (!tab) return;
        tab.click();
        tab.focus();
    }

    function add(button) {
        const box = document.getElementById(button.dataset.pivotalAdd);
        if (!box) return;
        const lines = box.value.split("\n").map((line) => line.trim()).filter(Boolean);
        if (!lines.includes(button.dataset.pivotalLine)) lines.push(button.dataset.pivotalLine);
        box.value = lines.join("\n");
    }

    // Of a link in the grid: its column and row, and the words of its image.
    function facts(link) {
        const cell = link.closest("td");
        return { x: cell.cellIndex, y: cell.parentElement.rowIndex, address: link.href, text: link.querySelector("img").alt };
    }

    function all() {
        return Array.from(document.querySelectorAll("a[data-pivotal-enlarge]"), facts);
    }

    // What the first line, which is without the files, has in that column; of the first line, the last.
    function partner(now) {
        const column = all().filter((one) => one.x === now.x && one.y !== now.y);
        return (now.y === 1 ? column[column.length - 1] : column[0]) || null;
    }

    document.addEventListener("click", (event) => {
        if (!event.target.closest) return;
        const adding = event.target.closest("[data-pivotal-add]");
        const link = event.target.closest("a[data-pivotal-enlarge]");
        const going = event.target.closest("[data-pivotal-show]");
        if (adding) add(adding);
        if (going) showPage(going.dataset.pivotalShow);
        if (link && window.pivotalEnlarge.isPlain(event)) {
            event.preventDefault();
            window.pivotalEnlarge(facts(link), { all, partner });
        }
    });

    document.addEventListener("pivotal-posted", (event) => {
        if (!event.detail.ok || !event.target.dataset.pivotalGoto) return;
        const run = document.getElementById("pivotal_compare_run");
        const body = JSON.parse(event.target.dataset.pivotalBody || "{}");
        if (run && body.run) run.value = body.run; // to be drawn again with other prompts
        showPage(event.target.dataset.pivotalGoto);
    });
    window.pivotalShowPage = showPage;
})();
