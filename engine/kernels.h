// The inner loops of the exact engine, as plain scalar code (the reference) and as vector code for several instruction
// sets. Each follows docs/arithmetic.md operation by operation, so all give the same bits; tests compare them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "engine/packed_matrix.h"

namespace par5 {

// One token's int8 activations in the order in which a matrix's format wants them: word [group][line][field], byte b
// beside the weight of `byte` b (packed_matrix.h); base5: digit for field. Inputs that pad a group are 0.
struct QuantizedRow {
  std::uint32_t* words = nullptr;  // activation_words(matrix, rows)
  std::int32_t* starts = nullptr;  // [groups]: -offset · sum of the group's activations
  float* step = nullptr;           // activation = int8 · step
};
// columns: tables instead, 64 words for every line: of the 125 sums that the line's three activations give with every
// base-5 byte, the low six bits (128 places, a byte each), then what is above them. `starts` are not used. Where at
// least kSharedRows rows are multiplied together, one word for every line: its activations, from the lowest byte.
constexpr std::size_t kTableWords = 64, kSharedRows = 16;
std::size_t activation_words(const PackedMatrix& matrix, std::size_t rows);

struct QuantizedRows {
  const std::uint32_t* words = nullptr;  // [rows][activation_words(matrix, rows)]
  const std::int32_t* starts = nullptr;  // [rows][groups]
  const float* steps = nullptr;          // [rows]
  std::size_t rows = 0;
};

// fp32-adds: a token's activations as tables, floats that adds_product looks up (docs/arithmetic.md, "Matrix
// products").
//   pairs        32 places for every pair of inputs: their sum for each of the 25 codes of the pair
//   bits2, bits4 8 places for every input: its multiple for each code + offset
constexpr std::size_t kPairPlaces = 32, kMultiples = 8;
std::size_t table_floats(const PackedMatrix& matrix);

struct Kernels {
  const char* name;
  // The formats of quantised weights that decode and product read, and what the other arithmetics' products prefer.
  Packing packing, integer_packing, adds_packing;

  // Weights of one block (64 outputs) for inputs first … first + count - 1, as out [count][64].
  void (*decode)(const PackedMatrix& matrix, std::size_t block, std::size_t first, std::size_t count, float* out);
  // out[r][o] = chain of fma(x[r][i], panel[i][o], .) over i = 0 … inputs - 1, from 0 (start) or from what out holds.
  // `outputs` is a multiple of 16, at most 64 or panel_stride.
  void (*product)(const float* x, std::size_t x_stride, std::size_t rows, const float* panel, std::size_t panel_stride,
                  std::size_t inputs, std::size_t outputs, bool start, float* out, std::size_t out_stride);
  // Both in one for a single row x [matrix.inputs] and blocks first … first + count - 1: out [64 · count]. Null: not
  // faster than both; else for matrices in the formats of lookup::reads (kernels_decode.h).
  void (*row_product)(const PackedMatrix& matrix, std::size_t first, std::size_t count, const float* x, float* out);
  // x [matrix.inputs] as int8, one of `rows` rows.
  void (*quantize_row)(const float* x, const PackedMatrix& matrix, std::size_t rows, QuantizedRow out);
  // The int8 product of blocks first … first + count - 1: out[r][0 … 64 · count - 1].
  void (*integer_product)(const PackedMatrix& matrix, std::size_t first, std::size_t count, const QuantizedRows& x,
                          float* out, std::size_t out_stride);

  // The tables of one row x [matrix.inputs]: out [table_floats(matrix)].
  void (*adds_tables)(const float* x, const PackedMatrix& matrix, float* out);
  // The fp32-adds product of blocks first … first + count - 1 with rows of such tables; `out` as in integer_product.
  void (*adds_product)(const PackedMatrix& matrix, std::size_t first, std::size_t count, const float* tables,
                       std::size_t rows, float* out, std::size_t out_stride);

  // Elementwise and row kernels over n values. `out` may be an input.
  void (*rms_norm)(const float* x, std::size_t n, float* out);
  void (*layer_norm)(const float* x, std::size_t n, float* out);
  void (*multiply)(const float* x, const float* y, std::size_t n, float* out);  // x · y
  void (*scale)(const float* x, float factor, std::size_t n, float* out);       // x · factor
  void (*add)(const float* x, const float* y, std::size_t n, float* out);       // x + y
  void (*add_scaled)(const float* x, const float* scale, const float* y, std::size_t n,
                     float* out);  // fma(scale, y, x)
  // fma(mix_x, x, mix_x0 · x0)
  void (*mix)(const float* x, const float* x0, const float* mix_x, const float* mix_x0, std::size_t n, float* out);
  // n results; swiglu reads 2 n values, the gates first.
  void (*activate)(Activation activation, const float* x, std::size_t n, float* out);
  // The halves (a, b) of a head, in place, by the table's cosines and sines [half].
  void (*rotate)(float* head, std::size_t half, const float* cosines, const float* sines);
  // scores → exp(scores · scale - their largest), in place; returns 1 / their sum.
  float (*softmax)(float* scores, std::size_t n, float scale);
  // Adds the bias (or none) and applies the softcap. Whether all results are finite.
  bool (*finish_logits)(const float* z, const float* bias, Softcap softcap, float cap, std::size_t n, float* out);
  // Natural logarithms of the normalised probabilities.
  void (*log_softmax)(const float* logits, std::size_t n, float* out);
  // exp(logits - their largest).
  void (*exponentials)(const float* logits, std::size_t n, float* out);
  // out = 1 + floor(exponentials · factor), at most 2^41; returns their sum.
  std::uint64_t (*frequencies)(const float* exponentials, std::size_t n, double factor, std::uint64_t* out);
  // Natural logarithms of frequencies / total (frequencies.h).
  void (*log_shares)(const std::uint64_t* frequencies, std::uint64_t total, std::size_t n, float* out);
  bool (*all_finite)(const float* x, std::size_t n);

  // Of the backward pass.
  float (*dot)(const float* x, const float* y, std::size_t n);  // row sum with lane = fma(x, y, lane)
  void (*add_multiple)(const float* x, float factor, const float* y, std::size_t n, float* out);  // fma(factor, y, x)
  // The gradient of activate: x as there, d its results' gradient [n]; out [n], swiglu [2 n].
  void (*activation_gradient)(Activation activation, const float* x, const float* d, std::size_t n, float* out);
  // d = (p · (d - mean)) · factor, in place.
  void (*softmax_gradient)(const float* p, std::size_t n, float mean, float factor, float* d);
  // d = d · the softcap's slope at z + bias (or z), in place.
  void (*softcap_gradient)(const float* z, const float* bias, Softcap softcap, float cap, std::size_t n, float* d);
};

const Kernels& scalar_kernels();
// Vector kernels that this build holds and this CPU runs, best first.
std::vector<const Kernels*> vector_kernels();

// All kernels of this CPU, best first; the last is "scalar".
std::vector<const Kernels*> available_kernels();
// The named one, or the best for "". A name that this CPU lacks is a usage error.
Result<const Kernels*> find_kernels(std::string_view name);

}  // namespace par5
