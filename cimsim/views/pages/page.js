"use strict";
(() => {
  const scene = JSON.parse(document.getElementById("scene").textContent);
  const told = document.getElementById("told");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const config = {
    responsive: true, displaylogo: false, showLink: false, plotlyServerURL: "",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const themed = (layout) => {
    const axis = (given) => ({ ...given, gridcolor: style("--rule"), linecolor: style("--rule") });
    return {
      ...layout, autosize: true, uirevision: "kept", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: style("--soft"), activecolor: style("--text") },
      font: { color: style("--text"), size: 12 }, xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
    };
  };

  // Text alone: what a point holds never becomes markup.
  const tell = (point, keys) => {
    const table = document.createElement("table");
    table.createCaption().textContent = scene.points[point].name;
    keys.forEach((key, number) => {
      const row = table.insertRow();
      row.insertCell().textContent = key;
      row.insertCell().textContent = scene.points[point].values[number];
    });
    told.replaceChildren(table);
    told.hidden = false;
  };
  const place = (event) => {
    const gap = 14;
    const left = event.pageX + gap + told.offsetWidth > window.scrollX + window.innerWidth
      ? event.pageX - gap - told.offsetWidth : event.pageX + gap;
    const low = event.clientY + gap + told.offsetHeight > window.innerHeight;
    const top = low ? event.pageY - gap - told.offsetHeight : event.pageY + gap;
    told.style.left = `${Math.max(window.scrollX, left)}px`;
    told.style.top = `${Math.max(window.scrollY, top)}px`;
  };

  const drawn = scene.charts.map((chart, number) => {
    const home = document.getElementById(`chart-${number}`);
    Plotly.newPlot(home, chart.data, themed(chart.layout), config);
    home.on("plotly_hover", (hover) => {
      const point = hover.points[0].customdata;
      if (point === null || point === undefined) return;
      tell(point, chart.keys);
      place(hover.event);
    });
    home.on("plotly_unhover", () => { told.hidden = true; });
    return home;
  });
  const layouts = scene.charts.map((chart) => chart.layout);
  dark.addEventListener("change", () => {
    drawn.forEach((home, number) => {
      const { shapes } = home.layout;
      Plotly.react(home, home.data, themed({ ...layouts[number], ...(shapes ? { shapes } : {}) }), config);
    });
  });
  if (scene.brush) window.brushed(scene, drawn, layouts);
})();
