// docs/coder.md, sections 3 to 7.
#include "own_coder.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "own_parts.h"

namespace reference {
namespace {

float fp8_value(int byte) {
  const int exponent = byte >> 3 & 15, mantissa = byte & 7;
  const float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                    : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return byte & 128 ? -value : value;
}

// ---- 4. covariance predictor ----------------------------------------------------------------------------------------

class Predictor {
 public:
  Predictor(std::size_t width, bool diagonal, float lambda) : width_(width), is_diagonal_(diagonal), mass_(lambda) {
    diagonal_.assign(width, std::sqrt(lambda));
    mean_.assign(width, 0);
    if (!diagonal) factor_.assign(width, std::vector<float>(width, 0));
  }
  void begin_matrix() {
    if (mass_ > 1000) {
      const float f = std::sqrt(1000.0f / mass_);
      for (auto& column : factor_)
        for (float& value : column) value = value * f;
      for (float& value : diagonal_) value = value * f;
      mass_ = 1000;
    }
    for (float& value : diagonal_) value = std::max(value, 0.0625f * std::sqrt(mass_));
  }
  void begin_row() { mean_.assign(width_, 0); }
  float mean(std::size_t c) const { return mean_[c]; }
  float deviation(std::size_t c) const { return diagonal_[c] * (1.0f / std::sqrt(mass_)); }
  float tell(std::size_t c, float x) {
    const float z = (x - mean_[c]) / diagonal_[c];
    for (std::size_t j = c + 1; j < width_ && !is_diagonal_; ++j) mean_[j] = std::fma(factor_[c][j], z, mean_[j]);
    return z * std::sqrt(mass_);
  }
  void end_row(std::vector<float> y) {
    for (std::size_t k = 0; k < width_; ++k) {
      const float a = diagonal_[k], b = y[k], r = std::sqrt(a * a + b * b), cosine = a / r, sine = b / r;
      for (std::size_t j = k + 1; j < width_ && !is_diagonal_; ++j) {
        const float l = factor_[k][j];
        factor_[k][j] = std::fma(sine, y[j], cosine * l);
        y[j] = std::fma(-sine, l, cosine * y[j]);
      }
      diagonal_[k] = r;
    }
    mass_ = mass_ + 1;
  }

 private:
  std::size_t width_;
  bool is_diagonal_;
  float mass_;
  std::vector<float> diagonal_, mean_;
  std::vector<std::vector<float>> factor_;  // [k][j], j > k
};

// ---- 5. symbols and decisions ---------------------------------------------------------------------------------------

struct Cell {
  float p = 0, weight = 0;
  void learn(float bit, float share, float limit) {
    const float sum = weight + share;
    weight = sum < limit ? sum : limit;
    p = p + share * (bit - p) / (weight + 0.7f);
  }
};
struct Position {
  std::size_t i;
  float f;
};
Position position(float x, int size) {
  const float inside = clamp(x, 0, static_cast<float>(size) - 1.01f);
  return {static_cast<std::size_t>(inside), inside - static_cast<float>(static_cast<int>(inside))};
}
int bucket(float x) { return static_cast<int>(clamp(x, 0, 15.5f)); }
int class_of(float value) { return static_cast<int>(clamp(value, -2, 2) + 2.5f) - 2; }

struct Forecast {
  float mean, deviation, inverse;
};
struct Advice {
  float g = 0, x = 0, y = 0;
  bool mapped = false;
};

// The model of a chain.
class Model {
 public:
  Model(const Alphabet& alphabet, bool covariance, RangeDecoder& coder)
      : alphabet_(alphabet), covariance_(covariance), coder_(coder) {
    while (!alphabet.fp8 && (2 << reaches_) <= alphabet.most) ++reaches_;
    if (alphabet.fp8) reaches_ = 15;
    halves_ = 2 + reaches_;
    start_maps();
  }

  // Symbols in the order in which they are coded.
  std::vector<int> matrix(std::size_t rows, std::size_t width, int shift, std::size_t distance,
                          const std::vector<int>& known);

 private:
  struct Columns {
    Predictor shared;
    std::map<std::pair<std::size_t, int>, Counter> slow, fast;  // by column and id
    std::vector<float> magnitude;
  };

  void start_maps() {
    const float dead = alphabet_.fp8 || !alphabet_.has_zero ? 0.0f : 0.5f;
    std::vector<Cell> map;
    for (int id = 0; id < halves_; ++id)
      for (int y = 0; y < 32; ++y)
        for (int x = 0; x < 48; ++x) {
          const float e = std::ldexp(1.0f + static_cast<float>(y % 4) / 4, y / 4 - 3);
          float q = 0;
          if (id == 0) {
            const float a = static_cast<float>(x) / 8;
            q = tail((dead - a) / e) + tail((dead + a) / e);
          } else if (id == 1) {
            const float a = static_cast<float>(x - 24) / 8, above = tail((dead - a) / e), below = tail((dead + a) / e);
            q = (above + 1e-6f) / (above + below + 2e-6f);
          } else {
            const float l = static_cast<float>(24 - x) / 8;
            q = (tail((l + 1) / e) + 1e-6f) / (tail(l / e) + 2e-6f);
          }
          map.push_back({clamp(q, 0.001f, 0.999f), 5});
        }
    maps_[0] = maps_[1] = map;
  }

  // The 33 cells that correct a probability.
  std::vector<Cell>& correction(int id, int sg) {
    std::vector<Cell>& cells = corrections_[{id, sg}];
    for (int i = 0; cells.size() < 33; ++i) cells.push_back({squash(static_cast<float>(i - 16) / 4), 1});
    return cells;
  }
  Lanes& weights(int set, int id, int by) {
    Lanes& lanes = weights_[{set, id * 16 + by}];
    if (lanes.empty()) {
      lanes.assign(16, 0);
      lanes[0] = 1;
      for (std::size_t i = 1; i <= 11; ++i) lanes[i] = 0.2f;
    }
    return lanes;
  }

  bool decide(int id, int node, int sg, const Advice (&advice)[2]) {
    Counter* const counters[7] = {
        &whole_[{node, sg == 2}],
        &columns_now_->slow[{column_, id}],
        &columns_now_->fast[{column_, id}],
        &row_[id],
        &neighbours_[{id, (left_ + 2) * 15 + (above_ + 2) * 3 + sg}],
        &magnitudes_[{id, ((std::abs(left_) * 3 + std::abs(above_)) * 3 + std::abs(left2_)) * 3 + std::abs(above2_)}],
        &row_by_column_[{id, row_bucket_ * 16 + column_bucket_}]};
    Lanes inputs(16, 0);
    inputs[0] = stretch(counters[0]->p);
    for (std::size_t k = 1; k < 7; ++k)
      inputs[k] = (stretch(counters[k]->p) - inputs[0]) * tables().confidence[static_cast<std::size_t>(counters[k]->n)];
    Cell* cells[2][4] = {};
    float shares[2][4] = {};
    for (std::size_t i = 0; i < 2; ++i) {
      inputs[7 + i] = advice[i].g - inputs[0];
      if (!advice[i].mapped) continue;
      const Position x = position(advice[i].x, 48), y = position(advice[i].y, 32);
      float p = 0;
      for (std::size_t k = 0; k < 4; ++k) {
        shares[i][k] = (k % 2 ? x.f : 1 - x.f) * (k / 2 ? y.f : 1 - y.f);
        cells[i][k] = &maps_[i][static_cast<std::size_t>(id) * 1536 + (y.i + k / 2) * 48 + x.i + k % 2];
        p = p + shares[i][k] * cells[i][k]->p;
      }
      inputs[9 + i] = stretch(p) - inputs[0];
    }
    inputs[11] = 0.3f;
    Lanes* const vectors[3] = {&weights(0, id, 0),
                               &weights(1, id, bucket(log2_of(forecasts_[0].deviation) * 4.0f + 8.0f)),
                               &weights(2, id, column_bucket_)};
    float sum = 0;
    for (const Lanes* vector : vectors) sum = sum + dot(*vector, inputs);
    const float v = clamp(sum * (1.0f / 3), -11, 11), p = squash(v);
    std::vector<Cell>& cell = correction(id, sg);
    const Position at = position(v * 4.0f + 16.0f, 33);
    const float c = cell[at.i].p + at.f * (cell[at.i + 1].p - cell[at.i].p);
    const float final = clamp(p + 0.5f * (c - p), 1.0f / 8192, 1 - 1.0f / 8192);
    const bool one = coder_.bit(static_cast<std::uint32_t>(final * 65536.0f));

    const float bit = one ? 1 : 0, step = (bit - p) * 0.003f;
    for (Lanes* vector : vectors)
      for (std::size_t i = 0; i < 16; ++i) (*vector)[i] = (*vector)[i] + step * inputs[i];
    for (int i = 0; i < 7; ++i) counters[i]->learn(bit, i == 2 ? 20 : 1000);
    for (int i = 0; i < 2; ++i)
      for (int k = 0; k < 4 && advice[i].mapped; ++k) cells[i][k]->learn(bit, shares[i][k], 800);
    cell[at.i].learn(bit, 1 - at.f, 400);
    cell[at.i + 1].learn(bit, at.f, 400);
    return one;
  }

  bool zero_decision() {
    Advice advice[2];
    for (int i = 0; i < 2; ++i) {
      const Forecast& f = forecasts_[i];
      advice[i] = {stretch(tail((dead_ - f.mean) * f.inverse) + tail((dead_ + f.mean) * f.inverse)),
                   std::fabs(f.mean) / unit_ * 8, log2_of(f.deviation / unit_) * 4 + 12, true};
    }
    return decide(0, 0, 0, advice);
  }
  int sign_decision() {
    Advice advice[2];
    for (int i = 0; i < 2; ++i) {
      const Forecast& f = forecasts_[i];
      advice[i] = {clamp(log_tail((dead_ - f.mean) * f.inverse) - log_tail((dead_ + f.mean) * f.inverse), -9, 9),
                   f.mean / unit_ * 8 + 24, log2_of(f.deviation / unit_) * 4 + 12, true};
    }
    return decide(1, 1, 0, advice) ? 1 : -1;
  }
  bool reach_decision(int t, int sign, float low, float high) {
    Advice advice[2];
    for (int i = 0; i < 2; ++i) {
      const Forecast& f = forecasts_[i];
      const float mean = sign > 0 ? f.mean : -f.mean;
      advice[i] = {clamp(odds(log_tail((low - mean) * f.inverse) - log_tail((high - mean) * f.inverse)), -9, 9),
                   (mean - low) / (high - low) * 8 + 24, log2_of(f.deviation / (high - low)) * 4 + 12, true};
    }
    return decide(2 + t, 2 + t, sign > 0 ? 2 : 1, advice);
  }
  bool half_decision(int kind, int node, int sign, float low, float high) {
    Advice advice[2];
    for (int i = 0; i < 2; ++i) {
      const Forecast& f = forecasts_[i];
      const float mean = sign > 0 ? f.mean : -f.mean;
      advice[i].g = clamp((mean - (low + high) * 0.5f) * ((high - low) * 0.5f * f.inverse * f.inverse), -3, 3);
    }
    return decide(halves_ + kind, node, sign > 0 ? 2 : 1, advice);
  }

  int grid_symbol() {
    if (alphabet_.has_zero && !zero_decision()) return 0;
    const int sign = sign_decision();
    int t = 0;
    while ((2 << t) <= alphabet_.most && reach_decision(t, sign, (static_cast<float>(1 << t) - 0.5f) * unit_,
                                                        (static_cast<float>(2 << t) - 0.5f) * unit_))
      ++t;
    int v = 1 << t, last = 1;
    for (int b = t - 1; b >= 0; --b) {
      if (v + (1 << b) > alphabet_.most) continue;
      const int depth = t - 1 - b, kind = depth == 0 ? t : depth == 1 ? 8 + 2 * t + last : 24 + depth;
      const float low = (static_cast<float>(v) - 0.5f) * unit_, high = low + static_cast<float>(2 << b) * unit_;
      last = half_decision(kind, 128 + (v | 1 << b), sign, low, high);
      if (last) v += 1 << b;
    }
    return sign * v;
  }
  int fp8_symbol() {
    const int sign = sign_decision();
    float low = 0, high = std::ldexp(scale_, -6);
    int exponent = 0;
    while (exponent < 15 && reach_decision(exponent, sign, low, high)) {
      ++exponent;
      low = high;
      high = 2 * high;
    }
    int path = 1;
    for (int b = 0; b < 3; ++b) {
      const bool upper = half_decision(path + (exponent == 0 ? 0 : 8), 128 + 8 * exponent + path, sign, low, high);
      const float middle = (low + high) * 0.5f;
      (upper ? low : high) = middle;
      path = 2 * path + upper;
    }
    return (sign < 0 ? 128 : 0) | exponent << 3 | (path & 7);
  }

  Alphabet alphabet_;
  bool covariance_;
  RangeDecoder& coder_;
  int reaches_ = 0, halves_ = 0;
  std::map<std::pair<std::size_t, std::size_t>, Columns> columns_;  // by known values a row, width
  std::vector<Cell> maps_[2];
  std::map<std::pair<int, int>, std::vector<Cell>> corrections_;
  std::map<std::pair<int, int>, Lanes> weights_;
  std::map<std::pair<int, int>, Counter> whole_, neighbours_, magnitudes_, row_by_column_;
  // Of the symbol being decoded.
  float unit_ = 1, dead_ = 0.5f, scale_ = 1;
  Forecast forecasts_[2] = {};
  Columns* columns_now_ = nullptr;
  std::map<int, Counter> row_;
  std::size_t column_ = 0;
  int left_ = 0, left2_ = 0, above_ = 0, above2_ = 0, row_bucket_ = 0, column_bucket_ = 0;
};

// ---- 7. a matrix ----------------------------------------------------------------------------------------------------

std::vector<int> Model::matrix(std::size_t rows, std::size_t width, int shift, std::size_t distance,
                               const std::vector<int>& known) {
  scale_ = std::ldexp(1.0f, -shift);
  unit_ = alphabet_.fp8 ? 1 : scale_;
  dead_ = alphabet_.fp8 || !alphabet_.has_zero ? 0 : unit_ / 2;
  const std::size_t numbers = known.size() / rows, first = numbers > 0 ? 1 + numbers + width : 0;
  const bool diagonal = (!covariance_ && numbers == 0) || first + width > 1024;
  const float lambda = numbers > 0 ? 4 : 64;
  const auto kept = columns_.try_emplace({first, width},
                                         Columns{Predictor(first + width, diagonal, lambda), {}, {}, Lanes(width, 1)});
  Columns& columns = *(columns_now_ = &kept.first->second);
  columns.shared.begin_matrix();
  Predictor own(first + width, diagonal, lambda);
  own.begin_matrix();
  for (auto* counters : {&columns.slow, &columns.fast})
    for (auto& [key, counter] : *counters) counter.n = std::min(counter.n, 20);

  std::vector<int> symbols;
  std::vector<float> previous(width, 0);
  std::vector<int> above(width, 0), above2(width, 0);
  std::vector<std::vector<float>> errors;  // of all rows so far
  float ratio = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    row_.clear();
    columns.shared.begin_row();
    own.begin_row();
    std::vector<float> row;
    for (std::size_t k = 0; k < first; ++k) {
      row.push_back(k == 0         ? 1.0f
                    : k <= numbers ? static_cast<float>(known[r * numbers + k - 1]) / 256
                                   : previous[k - numbers - 1]);
      columns.shared.tell(k, row[k]);
      own.tell(k, row[k]);
    }
    const std::vector<float>* partner = distance > 0 && r >= distance ? &errors[r - distance] : nullptr;
    std::vector<float> error_row;
    std::vector<int> classes;
    float a = 10, b = 10, total = 8, count = 8, products = ratio * 40, squares = 40;
    for (std::size_t c = 0; c < width; ++c) {
      const float rho = clamp(std::sqrt(a / b), 0.2f, 4);
      float h = 0, q = 1;
      if (partner) {
        const float t = products / squares, v = t * t - 4 / squares;
        if (v > 0) {
          const float s = v / t;
          h = s * (*partner)[c];
          q = std::sqrt(clamp(1 - s * s, 0.1f, 1));
        }
      }
      const Predictor* const predictors[2] = {&columns.shared, &own};
      for (int i = 0; i < 2; ++i) {
        const float d = predictors[i]->deviation(first + c);
        Forecast& f = forecasts_[i];
        f.deviation = std::max(d * rho * q, 0.15f);
        f.mean = predictors[i]->mean(first + c) + h * d;
        f.inverse = 1 / f.deviation;
      }
      column_ = c;
      left_ = c > 0 ? classes[c - 1] : 0;
      left2_ = c > 1 ? classes[c - 2] : 0;
      above_ = above[c];
      above2_ = above2[c];
      row_bucket_ = bucket((log2_of(total) - log2_of(count)) * 4 + 8);
      column_bucket_ = bucket(log2_of(columns.magnitude[c]) * 4 + 8);

      const int symbol = alphabet_.fp8 ? fp8_symbol() : grid_symbol();
      symbols.push_back(symbol);
      const float x = (alphabet_.fp8 ? fp8_value(symbol) : static_cast<float>(symbol)) * scale_;
      classes.push_back(class_of(x));
      row.push_back(x);
      previous[c] = x;
      const float e = columns.shared.tell(first + c, x);
      own.tell(first + c, x);
      error_row.push_back(clamp(e, -4, 4));
      if (partner) {
        products = products + error_row[c] * (*partner)[c];
        squares = squares + (*partner)[c] * (*partner)[c];
      }
      a = a + std::min(e * e, 9.0f);
      b = b + 1;
      total = total + std::fabs(x);
      count = count + 1;
      float& magnitude = columns.magnitude[c];
      magnitude = magnitude + (std::fabs(x) - magnitude) * 0.02f + 1e-6f;
    }
    ratio = partner ? products / squares : 0;
    errors.push_back(error_row);
    const float norm = 1 / std::sqrt(clamp(std::sqrt(a / b), 0.3f, 3));
    for (float& value : row)
      if (numbers == 0) value = value * norm;
    columns.shared.end_row(row);
    own.end_row(row);
    above2 = above;
    above = classes;
  }
  return symbols;
}

std::vector<int> order_zero(RangeDecoder& coder, const Alphabet& alphabet, std::size_t count) {
  const int most = alphabet.fp8 ? 255 : std::min(255, alphabet.has_zero ? 2 * alphabet.most : alphabet.most);
  int bits = 0;
  while (most >> bits != 0) ++bits;
  std::map<int, std::pair<float, float>> nodes;  // p, n
  std::vector<int> symbols;
  for (std::size_t k = 0; k < count; ++k) {
    int path = 1, index = 0;
    for (int b = bits - 1; b >= 0; --b) {
      bool one = false;
      if ((index | 1 << b) <= most) {
        auto& [p, n] = nodes.try_emplace(path, 0.5f, 0.0f).first->second;
        one = coder.bit(static_cast<std::uint32_t>(std::max(1, std::min(65535, static_cast<int>(p * 65536.0f)))));
        p = p + ((one ? 1.0f : 0.0f) - p) / (n + 1.6f);
        n = std::min(n + 1, 65536.0f);
      }
      path = 2 * path + one;
      index |= one << b;
    }
    symbols.push_back(alphabet.fp8 ? index : alphabet.has_zero ? index - alphabet.most : 2 * index - alphabet.most);
  }
  return symbols;
}

}  // namespace

// ---- 3. a chain -----------------------------------------------------------------------------------------------------

std::vector<std::vector<int>> decode_chain(const Alphabet& alphabet, const std::vector<Matrix>& matrices,
                                           const Bytes& stream) {
  RangeDecoder coder(stream);
  Model model(alphabet, coder.plain(1) != 0, coder);
  std::vector<std::vector<int>> decoded;
  for (const Matrix& matrix : matrices) {
    const auto rows = static_cast<std::size_t>(matrix.rows), columns = static_cast<std::size_t>(matrix.columns);
    if (coder.plain(1) == 0) {
      decoded.push_back(order_zero(coder, alphabet, rows * columns));
      continue;
    }
    const bool transposed = coder.plain(1) != 0;
    const int shift = alphabet.fp8 || alphabet.most > 3 ? static_cast<int>(coder.plain(5)) - 16 : 0;
    const std::size_t distance = coder.plain(1) != 0 ? coder.plain(10) : 0;
    require(distance < (transposed ? columns : rows), "impossible partner distance");
    require(!transposed || matrix.known.empty(), "a transposed matrix with known numbers");
    require((transposed ? rows : columns) <= 65536, "rows too wide for contexts");
    std::vector<int> symbols = transposed ? model.matrix(columns, rows, shift, distance, {})
                                          : model.matrix(rows, columns, shift, distance, matrix.known);
    if (transposed) {
      std::vector<int> upright(symbols.size());
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < columns; ++c) upright[r * columns + c] = symbols[c * rows + r];
      symbols = std::move(upright);
    }
    decoded.push_back(std::move(symbols));
  }
  coder.finish();
  return decoded;
}

}  // namespace reference
