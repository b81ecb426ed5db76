// The model of the symbols of a chain of matrices: it gives every binary decision a probability and learns from the
// outcome. The encoder and the decoder run the same code, matrix by matrix.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "archive/coder/alphabet.h"
#include "archive/coder/covariance.h"
#include "archive/coder/kernels.h"
#include "archive/coder/mixer.h"

namespace par5::coder {

constexpr std::size_t kWidestPrediction = 1024;  // longer rows are coded without covariances

// What both sides know of a matrix before its first symbol.
struct MatrixSettings {
  int shift = 0;                     // a symbol's value is that of its code · 2^-shift
  std::size_t partner_distance = 0;  // rows from a row back to the one that it resembles; 0: there is none
  // `known_count` numbers a row, row-major, in units of 2^-8. Where there are any, a row is predicted from 1, these and
  // the row before it.
  std::span<const std::int16_t> known = {};
  std::size_t known_count = 0;
};

class SymbolModel {
 public:
  // `covariance`: predict with covariances; otherwise with variances only, which is much faster.
  SymbolModel(const Alphabet& alphabet, bool covariance, const Kernels& kernels);

  // Codes `rows` rows of `width` symbols with a RangeEncoder, which reads `symbols`, or a RangeDecoder, which fills it.
  template <class Coder>
  void code_matrix(Coder& coder, std::span<std::int8_t> symbols, std::size_t rows, std::size_t width,
                   const MatrixSettings& settings);

 private:
  // What is kept for rows of one width, from matrix to matrix.
  struct Columns {
    CovariancePredictor shared;
    std::vector<Counter> slow, fast;  // by column, then decision
    std::vector<float> magnitude;     // running mean of |value|
  };
  // What a predictor says about the value being coded.
  struct Forecast {
    float mean = 0, deviation = 1, inverse = 1;
  };
  // What a predictor says about a decision: the stretched probability, and where to look in the adaptive map.
  struct Advice {
    float stretched = 0;
    AxisPosition across, down;
    bool mapped = false;
  };
  // The contexts of the value being coded; the decisions' own numbers are added to them.
  struct Contexts {
    Counter *slow, *fast, *row;
    std::size_t neighbours, magnitudes, row_by_column;
    std::array<std::size_t, 3> mixer_set;
    std::array<Forecast, 2> forecasts;
  };

  template <class Coder>
  int code_grid(Coder& coder, const Contexts& contexts, int code);
  template <class Coder>
  int code_fp8(Coder& coder, const Contexts& contexts, int code);
  template <class Coder>
  bool decide(Coder& coder, const Contexts& contexts, int id, int node, int sign, const std::array<Advice, 2>& advice,
              bool bit);
  Columns& columns_for(std::size_t known, std::size_t width, bool diagonal);
  std::array<Advice, 2> advise_zero(const Contexts& contexts) const;
  std::array<Advice, 2> advise_sign(const Contexts& contexts) const;
  // Is |value| >= high, given that it is >= low and has this sign (+1 or -1)?
  std::array<Advice, 2> advise_reach(const Contexts& contexts, int sign, float low, float high) const;
  // Is |value| in the upper half of low … high?
  std::array<Advice, 2> advise_half(const Contexts& contexts, int sign, float low, float high) const;
  static const std::vector<Cell>& start_of_map(const Tables& tables, int id, float dead);
  void start_maps();

  Alphabet alphabet_;
  bool covariance_;
  const Kernels* kernels_;
  const Tables* tables_;
  std::size_t decisions_;
  float unit_ = 1.0f;                                               // grid: the value of code 1; fp8: 1
  float inverse_unit_ = 1.0f;                                       // exact: a power of two
  float dead_ = 0.5f;                                               // values below this are coded as 0
  float scale_ = 1.0f;                                              // 2^-shift
  std::array<float, 256> values_;                                   // of a code & 255, without the shift
  std::map<std::pair<std::size_t, std::size_t>, Columns> columns_;  // by known values a row and width
  // Contexts that all matrices of the chain share.
  std::vector<Counter> whole_, neighbours_, magnitudes_, row_by_column_;
  std::array<std::vector<Cell>, 2> maps_;
  std::vector<Cell> corrections_;
  std::array<std::vector<MixerVector>, 3> weights_;
};

}  // namespace par5::coder
