#include "eval/online.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "eval/learning.h"

namespace par5 {

OnlineAdapter::OnlineAdapter(Scorer& inner, const TttConfig& online)
    : inner_(inner),
      online_(online),
      values_(static_cast<std::size_t>(inner.vocab()) + 1, 0.0),
      velocity_(values_.size(), 0.0) {}

Result<std::unique_ptr<OnlineAdapter>> OnlineAdapter::create(Scorer& inner, const TttConfig& online) {
  if (online.optimizer != TttOptimizer::sgd)
    return usage_error("online adaptation learns by sgd alone", "online.optimizer");
  return std::unique_ptr<OnlineAdapter>(new OnlineAdapter(inner, online));
}

void OnlineAdapter::adapt(std::span<const float> logs, std::span<float> adapted) const {
  const auto sharpness = static_cast<float>(1.0 + values_.back());
  float largest = -INFINITY;
  for (std::size_t v = 0; v < logs.size(); ++v) {
    adapted[v] = sharpness * logs[v] + static_cast<float>(values_[v]);
    largest = std::max(largest, adapted[v]);
  }
  double sum = 0;
  for (const float value : adapted) sum += std::exp(value - largest);
  const float shift = largest + static_cast<float>(std::log(sum));
  for (float& value : adapted) value -= shift;
}

Status OnlineAdapter::score(const WindowBatch& batch, const Sink& sink) {
  const bool untouched = std::all_of(values_.begin(), values_.end(), [](double value) { return value == 0; });
  if (untouched) return inner_.score(batch, sink);
  const auto width = static_cast<std::size_t>(vocab());
  std::vector<float> adapted;
  return inner_.score(batch, [&](std::int64_t first_row, std::int64_t rows, std::span<const float> logs) -> Status {
    adapted.resize(logs.size());
    for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row)
      adapt(logs.subspan(row * width, width), std::span(adapted).subspan(row * width, width));
    return sink(first_row, rows, adapted);
  });
}

Status OnlineAdapter::step(const ScoredWindows& windows, double learning_rate) {
  const auto width = static_cast<std::size_t>(vocab());
  const std::vector<PositionRange> wanted(static_cast<std::size_t>(windows.windows()), {0, windows.length()});
  std::vector<double> gradient(values_.size(), 0.0);
  std::vector<float> adapted(width);
  const auto add_row = [&](std::span<const float> logs, std::uint16_t target) {
    adapt(logs, adapted);
    double expected = 0;
    for (std::size_t v = 0; v < width; ++v) {
      const double p = std::exp(adapted[v]);
      gradient[v] += p;
      expected += p * static_cast<double>(logs[v]);
    }
    gradient[target] -= 1;
    gradient[width] += expected - static_cast<double>(logs[target]);
  };
  P5_OK(inner_.score({windows.inputs(), windows.length(), wanted},
                     [&](std::int64_t first_row, std::int64_t rows, std::span<const float> logs) -> Status {
                       for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row)
                         add_row(logs.subspan(row * width, width),
                                 windows.targets()[static_cast<std::size_t>(first_row) + row]);
                       return {};
                     }));

  const auto count = static_cast<double>(windows.targets().size());
  double squares = 0;
  for (double& value : gradient) {
    value /= count;
    squares += value * value;
  }
  const double factor = online_.clip > 0 ? std::min(1.0, online_.clip / (std::sqrt(squares) + 1e-6)) : 1.0;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    velocity_[i] = online_.momentum * velocity_[i] + factor * gradient[i];
    values_[i] = (values_[i] - learning_rate * velocity_[i]) * (1.0 - online_.decay);
  }
  return {};
}

void OnlineAdapter::reset() {
  std::fill(values_.begin(), values_.end(), 0.0);
  std::fill(velocity_.begin(), velocity_.end(), 0.0);
}

std::string OnlineAdapter::description() const { return learner_description(Adaptation::output, online_, {}, 0); }

Result<std::vector<std::byte>> OnlineAdapter::state() const {
  const std::size_t bytes = values_.size() * sizeof(double);
  std::vector<std::byte> state(2 * bytes);
  std::memcpy(state.data(), values_.data(), bytes);
  std::memcpy(state.data() + bytes, velocity_.data(), bytes);
  return state;
}

Status OnlineAdapter::restore(std::span<const std::byte> state) {
  const std::size_t bytes = values_.size() * sizeof(double);
  if (state.size() != 2 * bytes)
    return bad_data("the snapshot of the output's adaptation has " + std::to_string(state.size()) +
                    " bytes instead of " + std::to_string(2 * bytes));
  std::memcpy(values_.data(), state.data(), bytes);
  std::memcpy(velocity_.data(), state.data() + bytes, bytes);
  return {};
}

}  // namespace par5
