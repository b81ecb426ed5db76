// The table of figures that a benchmark program prints, and the same as JSON (DESIGN of the table: docs/figures.md).
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/text.h"

namespace par5::bench {

enum class Better { higher, lower };

struct Figure {
  std::string id;  // "train.1"; rows for information have no bounds
  std::string what;
  double value = 0;
  std::string unit;  // "x", "ms", "bytes", "tokens/s"
  std::optional<double> must, aim;
  Better better = Better::higher;
  int threads = 1;
  int repetitions = 1;
  double lowest = 0, median = 0;  // of the repetitions, in `unit`
  std::string detail{};

  bool meets(const std::optional<double>& bound) const {
    return !bound || (better == Better::higher ? value >= *bound : value <= *bound);
  }
};

// Seconds of each of `repetitions` runs of two pieces of work, interleaved: a b a b …, after one warm-up of each.
struct Paired {
  std::vector<double> first, second;
};
inline double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
inline Paired interleaved(int repetitions, const std::function<void()>& first, const std::function<void()>& second) {
  Paired times;
  first();
  second();
  for (int i = 0; i < repetitions; ++i) {
    times.first.push_back(seconds_of(first));
    times.second.push_back(seconds_of(second));
  }
  return times;
}
inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n == 0 ? 0 : n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

class Figures {
 public:
  explicit Figures(std::string area) : area_(std::move(area)) {}
  void add(Figure figure) { figures_.push_back(std::move(figure)); }

  // Prints the table and writes <folder>/<area>.json where `folder` is given. Returns the exit status of main.
  int finish(const std::string& folder) const {
    std::printf("%-12s %-58s %14s %-10s %10s %10s %6s %3s %4s\n", "id", "what", "value", "unit", "must", "aim", "holds",
                "thr", "reps");
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const Figure& figure : figures_) {
      const auto bound = [](const std::optional<double>& value) { return value ? shortest(*value) : std::string("-"); };
      std::printf("%-12s %-58s %14s %-10s %10s %10s %6s %3d %4d  %s\n", figure.id.c_str(), figure.what.c_str(),
                  fixed(figure.value, figure.value >= 1000 ? 0 : 4).c_str(), figure.unit.c_str(),
                  bound(figure.must).c_str(), bound(figure.aim).c_str(), figure.meets(figure.must) ? "yes" : "NO",
                  figure.threads, figure.repetitions, figure.detail.c_str());
      const auto json = [](const std::optional<double>& value) {
        return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
      };
      rows.push_back({{"id", figure.id},
                      {"what", figure.what},
                      {"value", figure.value},
                      {"unit", figure.unit},
                      {"must", json(figure.must)},
                      {"aim", json(figure.aim)},
                      {"holds", figure.meets(figure.must)},
                      {"reached", figure.meets(figure.aim)},
                      {"threads", figure.threads},
                      {"repetitions", figure.repetitions},
                      {"min", figure.lowest},
                      {"median", figure.median},
                      {"detail", figure.detail}});
    }
    if (folder.empty()) return 0;
    if (auto made = make_folders(folder); !made) return report(made.error());
    const auto written = write_file(join_path(folder, area_ + ".json"), rows.dump(2) + "\n", Overwrite::yes);
    return written ? 0 : report(written.error());
  }

 private:
  static int report(const Error& error) {
    std::fprintf(stderr, "bench: %s\n", to_string(error).c_str());
    return exit_status(error.code);
  }
  std::string area_;
  std::vector<Figure> figures_;
};

}  // namespace par5::bench
