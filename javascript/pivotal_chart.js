// Says the values of a chart's lines under the pointer. The chart holds no numbers but its points and its axes' ends
// (data-box, data-steps, data-low, data-high): a point's height gives its value to a tenth of a pixel.
(function () {
    "use strict";

    let tip;

    function show(text, x, y) {
        if (!tip) {
            tip = document.createElement("div");
            tip.id = "pivotal_tip";
            document.body.appendChild(tip);
        }
        tip.textContent = text;
        tip.hidden = !text;
        tip.style.left = `${Math.min(x + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
        tip.style.top = `${y + 14}px`;
    }

    function nearest(line, x) {
        let best = null;
        for (const point of line.points) {
            if (!best || Math.abs(point.x - x) < Math.abs(best.x - x)) best = point;
        }
        return best;
    }

    function words(chart, event) {
        const area = chart.getBoundingClientRect();
        const x = (event.clientX - area.left) * chart.viewBox.baseVal.width / area.width;
        const [left, top, right, bottom] = chart.dataset.box.split(" ").map(Number);
        const low = Number(chart.dataset.low), high = Number(chart.dataset.high);
        let step = null;
        const told = [];
        for (const line of chart.querySelectorAll("polyline")) {
            const point = nearest(line, x);
            if (!point) continue;
            const at = high - (point.y - top) * (high - low) / (bottom - top);
            const value = chart.dataset.log === undefined ? at : 10 ** at;
            if (step === null) step = Math.round((point.x - left) * Number(chart.dataset.steps) / (right - left));
            told.push(`${line.dataset.name} ${Number(value.toPrecision(4))}`);
        }
        return step === null ? "" : [`step ${step}`, ...told].join("\n");
    }

    document.addEventListener("pointermove", (event) => {
        const chart = event.target.closest && event.target.closest("svg.pivotal-chart[data-box]");
        if (chart) show(words(chart, event), event.clientX, event.clientY);
        else if (tip && !tip.hidden) show("", 0, 0);
    });
})();
