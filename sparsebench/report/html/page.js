// Draws the charts and makes the tables sortable. Everything it reads stands in the page.
"use strict";

const contentOf = (id) => document.getElementById(id).textContent;

function drawCharts() {
  const settings = {
    responsive: true,
    displaylogo: false,
    typesetMath: false,
    plotlyServerURL: "", // nothing of a chart leaves this page
    modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
  };
  for (const place of document.querySelectorAll(".chart")) {
    const chart = JSON.parse(contentOf(place.dataset.of));
    Plotly.newPlot(place, chart.data, chart.layout, settings);
  }
}

// "−1,234.5 ± 2" is -1234.5, as the sort keys of the page have it.
const numberIn = (text) => parseFloat(text.replace("−", "-").replaceAll(",", ""));

// What is typed into a filter: a part of the text, or a comparison with a number such as "<1" or ">= 98.5".
function matcher(typed) {
  const asked = typed.trim().match(/^(<=|>=|<|>|=)\s*(-?[\d.]+)$/);
  if (asked === null) {
    const part = typed.trim().toLowerCase();
    return (text) => text.toLowerCase().includes(part);
  }
  const limit = parseFloat(asked[2]);
  const holds = {
    "<": (value) => value < limit,
    "<=": (value) => value <= limit,
    ">": (value) => value > limit,
    ">=": (value) => value >= limit,
    "=": (value) => value === limit,
  }[asked[1]];
  return (text) => holds(numberIn(text));
}

function plainText(content) {
  const holder = document.createElement("template");
  holder.innerHTML = content; // a template runs and fetches nothing
  return holder.content.textContent;
}

function addFilters(table, api) {
  const row = document.createElement("tr");
  row.className = "filters";
  api.columns().every(function () {
    const column = this;
    const input = document.createElement("input");
    input.type = "search";
    input.placeholder = "filter";
    input.title = "a part of the text, or a comparison such as <1 or >=98.5";
    input.setAttribute("aria-label", `filter ${column.header().textContent}`);
    input.addEventListener("input", () => {
      const matches = matcher(input.value);
      column.search((content) => matches(plainText(String(content)))).draw();
    });
    const cell = document.createElement("td");
    cell.append(input);
    row.append(cell);
  });
  table.querySelector("thead").append(row);
}

async function sortTables() {
  const bytes = Uint8Array.from(atob(contentOf("datatables")), (letter) => letter.charCodeAt(0));
  const address = URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
  const { default: DataTable } = await import(address);
  URL.revokeObjectURL(address);
  for (const table of document.querySelectorAll("table.sortable")) {
    const rows = table.tBodies[0].rows.length;
    const many = rows > 50;
    const api = new DataTable(table, {
      order: [],
      autoWidth: false,
      paging: many,
      pageLength: 50,
      lengthMenu: [50, 200, { label: "all", value: -1 }],
      info: many,
      searching: rows > 5,
      layout: { topStart: many ? "pageLength" : null, topEnd: null, bottomStart: many ? "info" : null },
    });
    if (rows > 5) {
      addFilters(table, api);
    }
  }
}

drawCharts();
sortTables().then(() => {
  document.documentElement.dataset.ready = "yes";
});
