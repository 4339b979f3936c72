// How the search ranks what it finds: a page whose title has the words that were asked for comes first, functions of the API
// page after the chapters. The other numbers are Sphinx's own.
var Scorer = {
  score: ([page, title, , , score]) => {
    const asked = (new URLSearchParams(location.search).get("q") || "").trim().toLowerCase();
    return score + (asked && !page.endsWith("/api") && title.toLowerCase().includes(asked) ? 20 : 0);
  },
  objNameMatch: 2,
  objPartialMatch: 1,
  objPrio: {0: 0, 1: 0, 2: -2},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
