#include "archive/coder/symbol_model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "archive/coder/partner.h"
#include "archive/coder/range_coder.h"

namespace par5::coder {
namespace {

constexpr float kRidge = 64;     // the prior of a predictor counts as this many rows of unit variance
constexpr float kWeakRidge = 4;  // the same where a row's values are regressed on known ones
constexpr float kMostMass = 1000;
constexpr std::uint32_t kSlowLimit = 1000;
constexpr std::uint32_t kFastLimit = 20;
constexpr std::uint32_t kWholeLimit = 1000;
constexpr std::uint32_t kKeptCount = 20;
constexpr float kMapLimit = 800;
constexpr float kCorrectionLimit = 400;
constexpr float kLearningRate = 0.003f;
constexpr float kFirstWeight = 0.2f;
constexpr float kMapStart = 5;
constexpr float kRowPrior = 10;
constexpr float kMagnitudeStep = 0.02f;
constexpr float kMostSurprise = 9;
constexpr float kCorrectionShare = 0.5f;

constexpr int kMapWidth = 48, kMapHeight = 32;
constexpr std::size_t kMapSize = kMapWidth * kMapHeight;
constexpr int kCorrectionSize = 33;
constexpr std::size_t kNodes =
    2 * 512;  // paths through a symbol's decisions: 256 and the zero and sign decisions, per sign
constexpr std::array<std::size_t, 3> kMixerSets = {1, 16, 16};
constexpr float kLeastProbability = 1.0f / 8192;

int bucket(float value, int count) { return static_cast<int>(clamp(value, 0.0f, static_cast<float>(count) - 0.5f)); }

// -2 … 2: the nearest integer.
int value_class(float value) { return static_cast<int>(clamp(value, -2.0f, 2.0f) + 2.5f) - 2; }

}  // namespace

std::array<float, 256> fp8_values() {
  std::array<float, 256> values{};
  for (int code = 0; code < 256; ++code) {
    const int exponent = (code >> 3) & 15, mantissa = code & 7;
    float value = static_cast<float>(exponent == 0 ? mantissa : 8 + mantissa) * (1.0f / 512);
    for (int i = 1; i < exponent; ++i) value = value * 2.0f;
    values[code] = code & 128 ? -value : value;
  }
  return values;
}

SymbolModel::SymbolModel(const Alphabet& alphabet, bool covariance, const Kernels& kernels)
    : alphabet_(alphabet),
      covariance_(covariance),
      kernels_(&kernels),
      tables_(&Tables::get()),
      decisions_(static_cast<std::size_t>(alphabet.decision_count())) {
  if (alphabet.is_fp8()) {
    values_ = fp8_values();
  } else {
    for (int code = -128; code < 128; ++code) values_[code & 255] = static_cast<float>(code);
  }
  whole_.resize(kNodes);
  neighbours_.resize(decisions_ * 75);
  magnitudes_.resize(decisions_ * 81);
  row_by_column_.resize(decisions_ * 256);
  corrections_.resize(decisions_ * 3 * kCorrectionSize);
  for (std::size_t i = 0; i < corrections_.size(); ++i) {
    const int entry = static_cast<int>(i % kCorrectionSize);
    corrections_[i] = {squash(*tables_, static_cast<float>(entry - 16) * 0.25f), 1.0f};
  }
  MixerVector first{};
  first[0] = 1.0f;
  for (int i = 1; i <= 11; ++i) first[i] = kFirstWeight;
  for (std::size_t set = 0; set < 3; ++set) weights_[set].assign(decisions_ * kMixerSets[set], first);
  start_maps();
}

// The maps begin with what a Gaussian of their coordinates' mean and deviation says: one start for each kind of
// decision, made once.
const std::vector<Cell>& SymbolModel::start_of_map(const Tables& tables, int id, float dead) {
  const auto make = [&tables](int kind, float threshold) {
    const auto tail = [&](float t) { return interpolate(tables.tail.data(), tail_position(t)); };
    std::vector<Cell> map;
    for (int y = 0; y < kMapHeight; ++y) {
      // In units: 2^((y - 12) / 4), linear within an octave like linear_log2.
      float deviation = 1.0f + static_cast<float>(y % 4) * 0.25f;
      const int octave = y / 4 - 3;
      for (int k = octave; k < 0; ++k) deviation = deviation * 0.5f;
      for (int k = octave; k > 0; --k) deviation = deviation * 2.0f;
      for (int x = 0; x < kMapWidth; ++x) {
        float p;
        if (kind == kZeroDecision) {
          const float mean = static_cast<float>(x) / 8.0f;
          p = tail((threshold - mean) / deviation) + tail((threshold + mean) / deviation);
        } else if (kind == kSignDecision) {
          const float mean = static_cast<float>(x - 24) / 8.0f;
          const float above = tail((threshold - mean) / deviation), below = tail((threshold + mean) / deviation);
          p = (above + 1e-6f) / (above + below + 2e-6f);
        } else {
          const float low = static_cast<float>(24 - x) / 8.0f;  // low edge minus mean
          p = (tail((low + 1.0f) / deviation) + 1e-6f) / (tail(low / deviation) + 2e-6f);
        }
        map.push_back({clamp(p, 0.001f, 0.999f), kMapStart});
      }
    }
    return map;
  };
  static const std::array<std::vector<Cell>, 4> starts = {make(kZeroDecision, 0.5f), make(kSignDecision, 0.5f),
                                                          make(kSignDecision, 0.0f), make(kFirstUnary, 0.0f)};
  if (id == kZeroDecision) return starts[0];
  if (id == kSignDecision) return starts[dead > 0 ? 1 : 2];
  return starts[3];
}

void SymbolModel::start_maps() {
  const float dead = alphabet_.is_fp8() || !alphabet_.has_zero ? 0.0f : 0.5f;
  for (std::vector<Cell>& map : maps_) {
    map.reserve(static_cast<std::size_t>(alphabet_.first_mantissa()) * kMapSize);
    for (int id = 0; id < alphabet_.first_mantissa(); ++id) {
      const std::vector<Cell>& start = start_of_map(*tables_, id, dead);
      map.insert(map.end(), start.begin(), start.end());
    }
  }
}

std::array<SymbolModel::Advice, 2> SymbolModel::advise_zero(const Contexts& contexts) const {
  std::array<Advice, 2> advice;
  for (int i = 0; i < 2; ++i) {
    const Forecast& f = contexts.forecasts[i];
    const float above = interpolate(tables_->tail.data(), tail_position((dead_ - f.mean) * f.inverse));
    const float below = interpolate(tables_->tail.data(), tail_position((dead_ + f.mean) * f.inverse));
    advice[i].stretched = stretch(*tables_, above + below);
    advice[i].across = AxisPosition::at(std::fabs(f.mean) * inverse_unit_ * 8.0f, kMapWidth);
    advice[i].down = AxisPosition::at(linear_log2(f.deviation * inverse_unit_) * 4.0f + 12.0f, kMapHeight);
    advice[i].mapped = true;
  }
  return advice;
}

std::array<SymbolModel::Advice, 2> SymbolModel::advise_sign(const Contexts& contexts) const {
  std::array<Advice, 2> advice;
  for (int i = 0; i < 2; ++i) {
    const Forecast& f = contexts.forecasts[i];
    const float above = interpolate(tables_->log_tail.data(), tail_position((dead_ - f.mean) * f.inverse));
    const float below = interpolate(tables_->log_tail.data(), tail_position((dead_ + f.mean) * f.inverse));
    advice[i].stretched = clamp(above - below, -9.0f, 9.0f);
    advice[i].across = AxisPosition::at(f.mean * inverse_unit_ * 8.0f + 24.0f, kMapWidth);
    advice[i].down = AxisPosition::at(linear_log2(f.deviation * inverse_unit_) * 4.0f + 12.0f, kMapHeight);
    advice[i].mapped = true;
  }
  return advice;
}

std::array<SymbolModel::Advice, 2> SymbolModel::advise_reach(const Contexts& contexts, int sign, float low,
                                                             float high) const {
  std::array<Advice, 2> advice;
  const float inverse_width = 1.0f / (high - low);  // a power of two, so that multiplying is as exact as dividing
  for (int i = 0; i < 2; ++i) {
    const Forecast& f = contexts.forecasts[i];
    const float mean = sign > 0 ? f.mean : -f.mean;
    const float from = interpolate(tables_->log_tail.data(), tail_position((low - mean) * f.inverse));
    const float to = interpolate(tables_->log_tail.data(), tail_position((high - mean) * f.inverse));
    advice[i].stretched = clamp(odds(*tables_, from - to), -9.0f, 9.0f);
    advice[i].across = AxisPosition::at((mean - low) * inverse_width * 8.0f + 24.0f, kMapWidth);
    advice[i].down = AxisPosition::at(linear_log2(f.deviation * inverse_width) * 4.0f + 12.0f, kMapHeight);
    advice[i].mapped = true;
  }
  return advice;
}

std::array<SymbolModel::Advice, 2> SymbolModel::advise_half(const Contexts& contexts, int sign, float low,
                                                            float high) const {
  std::array<Advice, 2> advice;
  for (int i = 0; i < 2; ++i) {
    const Forecast& f = contexts.forecasts[i];
    const float mean = sign > 0 ? f.mean : -f.mean;
    const float slope = (high - low) * 0.5f * f.inverse * f.inverse;
    advice[i].stretched = clamp((mean - (low + high) * 0.5f) * slope, -3.0f, 3.0f);
  }
  return advice;
}

template <class Coder>
bool SymbolModel::decide(Coder& coder, const Contexts& contexts, int id, int node, int sign,
                         const std::array<Advice, 2>& advice, bool bit) {
  const std::size_t decision = static_cast<std::size_t>(id);
  const std::size_t signs = sign == 0 ? 0 : sign > 0 ? 2 : 1;
  Counter* const counters[7] = {&whole_[static_cast<std::size_t>(node) * 2 + (sign > 0)],
                                &contexts.slow[decision],
                                &contexts.fast[decision],
                                &contexts.row[decision],
                                &neighbours_[decision * 75 + contexts.neighbours * 3 + signs],
                                &magnitudes_[decision * 81 + contexts.magnitudes],
                                &row_by_column_[decision * 256 + contexts.row_by_column]};
  const float base = stretch(*tables_, counters[0]->probability);
  const auto by_counter = [&](int i) {
    return (stretch(*tables_, counters[i]->probability) - base) * tables_->confidence[counters[i]->count];
  };
  std::optional<CellSquare> squares[2];
  float by_map[2] = {};
  for (int i = 0; i < 2; ++i) {
    if (!advice[i].mapped) continue;
    const AxisPosition &x = advice[i].across, &y = advice[i].down;
    Cell* const corner = &maps_[i][decision * kMapSize + static_cast<std::size_t>(y.index * kMapWidth + x.index)];
    squares[i].emplace(corner, kMapWidth, x, y);
    by_map[i] = stretch(*tables_, squares[i]->probability()) - base;
  }
  const MixerInputs inputs = {{Lanes4{base, by_counter(1), by_counter(2), by_counter(3)},
                               Lanes4{by_counter(4), by_counter(5), by_counter(6), advice[0].stretched - base},
                               Lanes4{advice[1].stretched - base, by_map[0], by_map[1], 0.3f}, Lanes4{}}};

  MixerVector* weights[3];
  float sum = 0.0f;
  for (std::size_t set = 0; set < 3; ++set) {
    weights[set] = &weights_[set][decision * kMixerSets[set] + contexts.mixer_set[set]];
    sum = sum + dot(*weights[set], inputs);
  }
  const float mixed = clamp(sum * (1.0f / 3.0f), -11.0f, 11.0f);
  const float p = squash(*tables_, mixed);
  const AxisPosition position = AxisPosition::at(mixed * 4.0f + 16.0f, kCorrectionSize);
  Cell* const left = &corrections_[(decision * 3 + signs) * kCorrectionSize + static_cast<std::size_t>(position.index)];
  Cell* const right = left + 1;
  const float corrected = left->probability + position.fraction * (right->probability - left->probability);
  const float final = clamp(p + kCorrectionShare * (corrected - p), kLeastProbability, 1.0f - kLeastProbability);

  bit = coder.code(bit, static_cast<std::uint32_t>(final * 65536.0f));

  const float outcome = bit ? 1.0f : 0.0f;
  const float step = (outcome - p) * kLearningRate;
  for (MixerVector* vector : weights) add_scaled(*vector, inputs, step);
  counters[0]->update(*tables_, outcome, kWholeLimit);
  counters[1]->update(*tables_, outcome, kSlowLimit);
  counters[2]->update(*tables_, outcome, kFastLimit);
  for (int i = 3; i < 7; ++i) counters[i]->update(*tables_, outcome, kSlowLimit);
  for (std::optional<CellSquare>& square : squares)
    if (square) square->update(outcome, kMapLimit);
  left->update(outcome, 1.0f - position.fraction, kCorrectionLimit);
  right->update(outcome, position.fraction, kCorrectionLimit);
  return bit;
}

template <class Coder>
int SymbolModel::code_grid(Coder& coder, const Contexts& contexts, int code) {
  if (alphabet_.has_zero && !decide(coder, contexts, kZeroDecision, 0, 0, advise_zero(contexts), code != 0)) return 0;
  const int sign = decide(coder, contexts, kSignDecision, 1, 0, advise_sign(contexts), code > 0) ? 1 : -1;
  const int magnitude = code < 0 ? -code : code;
  int top = 0;
  for (; (2 << top) <= alphabet_.max_code; ++top) {
    const float low = (static_cast<float>(1 << top) - 0.5f) * unit_,
                high = (static_cast<float>(2 << top) - 0.5f) * unit_;
    if (!decide(coder, contexts, kFirstUnary + top, 2 + top, sign, advise_reach(contexts, sign, low, high),
                magnitude >= (2 << top)))
      break;
  }
  int decoded = 1 << top, path = 1;
  for (int b = top - 1; b >= 0; --b) {
    const int half = 1 << b;
    if (decoded + half > alphabet_.max_code) continue;
    const int depth = top - 1 - b;
    const int kind = depth == 0 ? top : depth == 1 ? 8 + 2 * top + (path & 1) : 24 + depth;
    const float low = (static_cast<float>(decoded) - 0.5f) * unit_, high = low + static_cast<float>(2 * half) * unit_;
    const bool upper = decide(coder, contexts, alphabet_.first_mantissa() + kind, 128 + (decoded | half), sign,
                              advise_half(contexts, sign, low, high), (magnitude & half) != 0);
    path = 2 * path + upper;
    if (upper) decoded += half;
  }
  return sign * decoded;
}

template <class Coder>
int SymbolModel::code_fp8(Coder& coder, const Contexts& contexts, int code) {
  const bool negative = !decide(coder, contexts, kSignDecision, 1, 0, advise_sign(contexts), (code & 128) == 0);
  const int sign = negative ? -1 : 1;
  const int field = (code >> 3) & 15;
  int exponent = 0;
  float low = 0.0f, high = scale_ * (1.0f / 64);
  for (; exponent < 15; ++exponent) {
    if (!decide(coder, contexts, kFirstUnary + exponent, 2 + exponent, sign, advise_reach(contexts, sign, low, high),
                field > exponent))
      break;
    low = high;
    high = high * 2.0f;
  }
  int path = 1;
  for (int b = 2; b >= 0; --b) {
    const float middle = (low + high) * 0.5f;
    const int kind = (exponent == 0 ? 0 : 8) + path;
    const bool upper = decide(coder, contexts, alphabet_.first_mantissa() + kind, 128 + exponent * 8 + path, sign,
                              advise_half(contexts, sign, low, high), ((code >> b) & 1) != 0);
    path = 2 * path + upper;
    (upper ? low : high) = middle;
  }
  return (negative ? 128 : 0) | exponent << 3 | (path & 7);
}

SymbolModel::Columns& SymbolModel::columns_for(std::size_t known, std::size_t width, bool diagonal) {
  const auto found = columns_.find({known, width});
  if (found != columns_.end()) return found->second;
  Columns columns{CovariancePredictor(known + width, diagonal, known > 0 ? kWeakRidge : kRidge),
                  std::vector<Counter>(width * decisions_), std::vector<Counter>(width * decisions_),
                  std::vector<float>(width, 1.0f)};
  return columns_.emplace(std::pair{known, width}, std::move(columns)).first->second;
}

template <class Coder>
void SymbolModel::code_matrix(Coder& coder, std::span<std::int8_t> symbols, std::size_t rows, std::size_t width,
                              const MatrixSettings& settings) {
  scale_ = 1.0f;
  for (int i = settings.shift; i > 0; --i) scale_ = scale_ * 0.5f;
  for (int i = settings.shift; i < 0; ++i) scale_ = scale_ * 2.0f;
  unit_ = alphabet_.is_fp8() ? 1.0f : scale_;
  inverse_unit_ = 1.0f / unit_;
  dead_ = alphabet_.is_fp8() || !alphabet_.has_zero ? 0.0f : 0.5f * unit_;

  // A row as the predictors see it: what is known, then what is coded.
  const std::size_t first = settings.known_count > 0 ? 1 + settings.known_count + width : 0;
  const bool diagonal = (!covariance_ && first == 0) || first + width > kWidestPrediction;
  Columns& columns = columns_for(first, width, diagonal);
  columns.shared.begin_matrix(kMostMass);
  CovariancePredictor own(first + width, diagonal, first > 0 ? kWeakRidge : kRidge);
  for (Counter& counter : columns.slow) counter.count = std::min(counter.count, kKeptCount);
  for (Counter& counter : columns.fast) counter.count = std::min(counter.count, kKeptCount);

  std::vector<Counter> row_counters(decisions_);
  std::vector<std::int8_t> classes(3 * width, 0);  // of this row and the two before it
  std::int8_t *here = classes.data(), *above = here + width, *higher = above + width;
  std::vector<float> row(own.padded_width()), copy(own.padded_width()), previous(width, 0.0f);
  PartnerRows partners(settings.partner_distance, width);
  Contexts contexts;
  contexts.row = row_counters.data();
  for (std::size_t r = 0; r < rows; ++r) {
    std::fill(row_counters.begin(), row_counters.end(), Counter{});
    columns.shared.begin_row();
    own.begin_row();
    for (std::size_t k = 0; k < first; ++k) {
      row[k] = k == 0 ? 1.0f
               : k <= settings.known_count
                   ? static_cast<float>(settings.known[r * settings.known_count + k - 1]) * (1.0f / 256)
                   : previous[k - settings.known_count - 1];
      columns.shared.observe(*kernels_, k, row[k]);
      own.observe(*kernels_, k, row[k]);
    }
    partners.begin_row(r);
    // The row's own variance, relative to what the columns let expect, and its mean magnitude.
    float surprise = kRowPrior, surprises = kRowPrior, row_magnitude = 8.0f, row_count = 8.0f;
    float row_deviation = 1.0f;
    for (std::size_t c = 0; c < width; ++c) {
      row_deviation = clamp(std::sqrt(surprise / surprises), 0.2f, 4.0f);
      const PartnerRows::Hint hint = partners.hint(c);
      const CovariancePredictor* const predictors[2] = {&columns.shared, &own};
      for (int i = 0; i < 2; ++i) {
        Forecast& forecast = contexts.forecasts[i];
        const float plain = predictors[i]->deviation(first + c);
        const float deviation = plain * row_deviation * hint.factor;
        forecast.mean = predictors[i]->mean(first + c) + hint.error * plain;
        forecast.deviation = deviation < 0.15f ? 0.15f : deviation;
        forecast.inverse = 1.0f / forecast.deviation;
      }
      const int left = c > 0 ? here[c - 1] : 0, left2 = c > 1 ? here[c - 2] : 0;
      contexts.slow = &columns.slow[c * decisions_];
      contexts.fast = &columns.fast[c * decisions_];
      contexts.neighbours = static_cast<std::size_t>((left + 2) * 5 + above[c] + 2);
      contexts.magnitudes = static_cast<std::size_t>(
          ((std::abs(left) * 3 + std::abs(above[c])) * 3 + std::abs(left2)) * 3 + std::abs(higher[c]));
      const int of_column = bucket(linear_log2(columns.magnitude[c]) * 4.0f + 8.0f, 16);
      const int of_row = bucket((linear_log2(row_magnitude) - linear_log2(row_count)) * 4.0f + 8.0f, 16);
      contexts.row_by_column = static_cast<std::size_t>(of_row * 16 + of_column);
      contexts.mixer_set = {
          0, static_cast<std::size_t>(bucket(linear_log2(contexts.forecasts[0].deviation) * 4.0f + 8.0f, 16)),
          static_cast<std::size_t>(of_column)};

      std::int8_t& symbol = symbols[r * width + c];
      const int code =
          alphabet_.is_fp8() ? code_fp8(coder, contexts, symbol & 255) : code_grid(coder, contexts, symbol);
      symbol = static_cast<std::int8_t>(code);

      const float value = values_[code & 255] * scale_, magnitude = std::fabs(value);
      here[c] = static_cast<std::int8_t>(value_class(value));
      row[first + c] = previous[c] = value;
      const float error = columns.shared.observe(*kernels_, first + c, value);
      own.observe(*kernels_, first + c, value);
      partners.observe(c, error);
      const float square = error * error;
      surprise = surprise + (square < kMostSurprise ? square : kMostSurprise);
      surprises = surprises + 1.0f;
      row_magnitude = row_magnitude + magnitude;
      row_count = row_count + 1.0f;
      // Never quite zero, so that its logarithm stays defined.
      columns.magnitude[c] = columns.magnitude[c] + (magnitude - columns.magnitude[c]) * kMagnitudeStep + 1e-6f;
    }
    partners.end_row(r);
    // Rows are learnt half normalised: large rows say more, but not that much more.
    const float norm = 1.0f / std::sqrt(clamp(std::sqrt(surprise / surprises), 0.3f, 3.0f));
    if (first == 0)
      for (float& value : row) value = value * norm;
    std::copy(row.begin(), row.end(), copy.begin());
    columns.shared.learn(*kernels_, row);
    own.learn(*kernels_, copy);
    std::int8_t* const oldest = higher;
    higher = above, above = here, here = oldest;
    if (ran_dry(coder)) return;
  }
}

template void SymbolModel::code_matrix(RangeEncoder&, std::span<std::int8_t>, std::size_t, std::size_t,
                                       const MatrixSettings&);
template void SymbolModel::code_matrix(RangeDecoder&, std::span<std::int8_t>, std::size_t, std::size_t,
                                       const MatrixSettings&);

}  // namespace par5::coder
