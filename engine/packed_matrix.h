// A weight matrix as the engine keeps it in memory: packed codes in panels of 16 outputs, so that one 64-byte line
// holds the next few inputs of 16 outputs, one 32-bit word each. Kernels work on blocks of 4 panels.
//
//   words [panel][group of inputs][line][16 outputs];  scales [panel][group of inputs][16 outputs]
//
// The inputs of a group start a new line. What a word holds, `byte` being 0 (lowest) … 3:
//   bits2, bits4, bits8  code + offset; word t of a group, field f of `byte` (lowest bits first): input
//                        4·(fields·t + f) + byte
//   base5                u0 + 5·u1 + 25·u2 with u = code + 2; byte b of word t, digit d: input 12·t + 3·b + d
//   pairs                u0 + 5·u1 in 5 bits; pair k of word t (lowest bits first), digit d: input 12·t + 2·k + d
//   e4m3                 fp8 codes; byte b of word t: input 4·t + b
//   half                 fp16 codes; half h of word t: input 2·t + h
//   single               float32 bits: input t
// One format has lines of 64 outputs, a byte each, so that one lookup serves them all:
//   columns              base-5 bytes as above; words [block][group of inputs][line][16], line t: inputs 3·t … 3·t + 2
//                        of the block's outputs in the order of column_of_output
#pragma once

#include <cstdint>
#include <span>

#include "engine/aligned.h"
#include "pack/stored_model.h"

namespace par5 {

enum class PackedFormat : std::uint8_t { bits2, bits4, bits8, base5, columns, pairs, e4m3, half, single };

constexpr std::size_t kPanel = 16;  // outputs of a panel: the words of a line
constexpr std::size_t kBlock = 64;  // outputs of a block
constexpr std::size_t kPanelsPerBlock = kBlock / kPanel;

struct PackedMatrix {
  PackedFormat format = PackedFormat::bits8;
  std::size_t outputs = 0, inputs = 0;
  std::size_t group = 0;   // inputs that share a scale
  std::size_t groups = 0;  // of one output; the last may be shorter
  std::size_t lines = 0;   // of one group
  int offset = 0;
  float multiplier = 1.0f;  // e4m3: a power of two
  AlignedVector<std::uint32_t> words;
  AlignedVector<float> scales;  // quantised formats only

  bool quantized() const { return format <= PackedFormat::pairs; }
  std::size_t blocks() const { return (outputs + kBlock - 1) / kBlock; }
  std::size_t bytes() const { return words.size() * sizeof(std::uint32_t) + scales.size() * sizeof(float); }
  const std::uint32_t* panel_words(std::size_t panel) const { return words.data() + panel * groups * lines * kPanel; }
  // The lines of a block, where the format is `columns`.
  const std::uint32_t* column_words(std::size_t block) const { return words.data() + block * groups * lines * kPanel; }
  const float* panel_scales(std::size_t panel) const { return scales.data() + panel * groups * kPanel; }
};

// Where a line of columns has the byte of an output (0 … 63): the order in which 16-bit sums of even and odd columns
// widen to 32 bits.
constexpr std::size_t column_of_output(std::size_t output) { return output < 32 ? 2 * output : 2 * (output - 32) + 1; }

// Inputs that one word of the format holds; columns: inputs of a line.
std::size_t inputs_per_word(PackedFormat format);

// The weight of one output and input, exactly; the readable definition of the layout.
float weight_at(const PackedMatrix& matrix, std::size_t output, std::size_t input);
// Its code, for quantised formats.
int code_at(const PackedMatrix& matrix, std::size_t output, std::size_t input);

// Replaces the weights of one output of a matrix in the format `single`.
void set_row(PackedMatrix& matrix, std::size_t output, std::span<const float> values);

// Rows first … first + count - 1 of a stored matrix.
struct MatrixRows {
  const StoredTensor* tensor = nullptr;
  std::int64_t first = 0;
  std::int64_t count = 0;
};

// What quantised matrices become: bits of any grid; for grids of at most five levels, formats that only some kernels
// read (the others are bits then). `single` makes every matrix, quantised or not, dense float32.
enum class Packing { bits, base5, columns, pairs, single };

// Packs rows of one or more matrices of equal width and storage, one below the other. Codes outside their grid and
// values that are not finite are bad_data.
Result<PackedMatrix> pack_matrix(std::span<const MatrixRows> parts, Packing packing);

}  // namespace par5
