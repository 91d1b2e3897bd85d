// Draws the charts, which are JSON values by the id of their element.
"use strict";
{
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const settings = { responsive: true, displayModeBar: false, displaylogo: false };
  for (const [id, chart] of Object.entries(charts)) {
    Plotly.newPlot(id, chart.data, chart.layout, settings);
  }
}
