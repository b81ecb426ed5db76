// Published figures derived again.
#include "bench/figures.h"
#include "bench/published_figures.h"

using namespace par5;

int main(int argc, char** argv) {
  bench::Figures figures("budgets");
  int agreed = 0, all = 0;
  for (const bench::PublishedFigure& figure : bench::published_figures()) {
    ++all;
    agreed += figure.agrees();
    figures.add({"budgets.info",
                 figure.what,
                 figure.derived,
                 "",
                 {},
                 {},
                 bench::Better::higher,
                 1,
                 1,
                 figure.derived,
                 figure.derived,
                 "printed " + fixed(figure.printed, figure.digits) + (figure.agrees() ? ", agrees" : ", DIFFERS")});
  }
  figures.add({"budgets.2",
               "published figures derived again, to the digits printed",
               static_cast<double>(agreed),
               "of " + std::to_string(all),
               static_cast<double>(all),
               {},
               bench::Better::higher,
               1,
               1,
               static_cast<double>(agreed),
               static_cast<double>(agreed),
               ""});
  return figures.finish(argc > 1 ? argv[1] : "");
}
