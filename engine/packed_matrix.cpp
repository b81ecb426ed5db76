#include "engine/packed_matrix.h"

#include <algorithm>
#include <bit>
#include <string>

#include "core/half.h"

namespace par5 {
namespace {

// Exact integer sums of a group stay below 2^31: 65,536 · 255 · 127. Longer groups are cut; their scales repeat.
constexpr std::size_t kLongestGroup = 65536;

std::size_t bits_of(PackedFormat format) {
  return format == PackedFormat::bits2 ? 2 : format == PackedFormat::bits4 ? 4 : 8;
}

// Where a code stands, as far as its input says: a word and a shift.
struct Place {
  std::size_t word = 0;
  unsigned shift = 0;
  unsigned factor = 1;  // of base-5 digits: 1, 5 or 25
};

Place place_of(const PackedMatrix& matrix, std::size_t input) {
  const std::size_t group = input / matrix.group, index = input % matrix.group;
  const std::size_t per_word = inputs_per_word(matrix.format);
  const auto within = static_cast<unsigned>(index % per_word);
  Place place;
  place.word = (group * matrix.lines + index / per_word) * kPanel;
  constexpr unsigned kPowers[3] = {1, 5, 25};
  switch (matrix.format) {
    case PackedFormat::columns:
      place.factor = kPowers[within];
      break;
    case PackedFormat::base5:
      place.shift = 8 * (within / 3);
      place.factor = kPowers[within % 3];
      break;
    case PackedFormat::pairs:
      place.shift = 5 * (within / 2);
      place.factor = kPowers[within % 2];
      break;
    case PackedFormat::half:
      place.shift = 16 * within;
      break;
    case PackedFormat::single:
      break;
    default:
      place.shift = 8 * (within % 4) + static_cast<unsigned>(bits_of(matrix.format)) * (within / 4);
  }
  return place;
}

// The same for the output: the first word, and a shift that is added.
struct OutputPlace {
  std::size_t word = 0;
  unsigned shift = 0;
};

OutputPlace place_of_output(const PackedMatrix& matrix, std::size_t output) {
  const std::size_t unit = matrix.groups * matrix.lines * kPanel;
  if (matrix.format != PackedFormat::columns) return {output / kPanel * unit + output % kPanel, 0};
  const std::size_t column = column_of_output(output % kBlock);
  return {output / kBlock * unit + column / 4, static_cast<unsigned>(8 * (column % 4))};
}

std::uint32_t word_at(const PackedMatrix& matrix, std::size_t output, const Place& place) {
  const OutputPlace at = place_of_output(matrix, output);
  return matrix.words[at.word + place.word] >> (at.shift + place.shift);
}

tl::unexpected<Error> bad_weight(const StoredTensor& tensor, std::size_t index, const char* what) {
  return bad_data("value " + std::to_string(index) + " of tensor '" + tensor.spec.name + "' " + what, {}, index,
                  tensor.spec.name);
}

// The format that takes the fewest lines for this grid and group, among those that the kernels read.
PackedFormat choose_format(Grid grid, std::size_t group, Packing packing) {
  if (packing == Packing::columns && max_code(grid) <= 2) return PackedFormat::columns;
  if (packing == Packing::pairs && max_code(grid) <= 2) return PackedFormat::pairs;
  PackedFormat best = max_code(grid) <= 1   ? PackedFormat::bits2
                      : max_code(grid) <= 7 ? PackedFormat::bits4
                                            : PackedFormat::bits8;
  const auto lines = [&](PackedFormat format) {
    return (group + inputs_per_word(format) - 1) / inputs_per_word(format);
  };
  if (packing == Packing::base5 && max_code(grid) == 2 && lines(PackedFormat::base5) < lines(best))
    best = PackedFormat::base5;
  return best;
}

void allocate(PackedMatrix& matrix) {
  const std::size_t per_word = inputs_per_word(matrix.format);
  matrix.groups = (matrix.inputs + matrix.group - 1) / matrix.group;
  matrix.lines = (matrix.group + per_word - 1) / per_word;
  const std::size_t panels = matrix.blocks() * kPanelsPerBlock;
  const std::size_t units = matrix.format == PackedFormat::columns ? matrix.blocks() : panels;
  matrix.words.assign(units * matrix.groups * matrix.lines * kPanel, 0);
  if (matrix.quantized()) matrix.scales.assign(panels * matrix.groups * kPanel, 0.0f);
}

Status pack_quantized(PackedMatrix& matrix, std::span<const Place> places, const MatrixRows& rows,
                      std::size_t first_output) {
  const auto& tensor = std::get<QuantizedTensor>(rows.tensor->data);
  const int limit = max_code(tensor.quantizer.grid);
  const std::size_t per_row =
      tensor.scales.size() == 1 ? 0 : tensor.scales.size() / static_cast<std::size_t>(tensor.shape[0]);
  const std::size_t scale_inputs = per_row <= 1 ? matrix.inputs : matrix.inputs / per_row;
  for (std::size_t r = 0; r < static_cast<std::size_t>(rows.count); ++r) {
    const std::size_t row = static_cast<std::size_t>(rows.first) + r, output = first_output + r;
    const OutputPlace at = place_of_output(matrix, output);
    std::uint32_t* words = matrix.words.data() + at.word;
    for (std::size_t input = 0; input < matrix.inputs; ++input) {
      const int code = tensor.codes[row * matrix.inputs + input];
      if (code < -limit || code > limit)
        return bad_weight(*rows.tensor, row * matrix.inputs + input, "is outside its grid");
      const Place& place = places[input];
      words[place.word] += (static_cast<std::uint32_t>(code + matrix.offset) * place.factor)
                           << (place.shift + at.shift);
    }
    for (std::size_t group = 0; group < matrix.groups; ++group) {
      const std::size_t index = row * per_row + (per_row == 0 ? 0 : group * matrix.group / scale_inputs);
      const std::uint16_t bits = tensor.scales[index];
      if ((bits & 0x7c00u) == 0x7c00u) return bad_weight(*rows.tensor, index, "has a scale that is not finite");
      matrix.scales[(output / kPanel * matrix.groups + group) * kPanel + output % kPanel] = float_from_half(bits);
    }
  }
  return {};
}

Status pack_floats(PackedMatrix& matrix, std::span<const Place> places, const MatrixRows& rows,
                   std::size_t first_output) {
  const auto* fp8 = std::get_if<Fp8Tensor>(&rows.tensor->data);
  for (std::size_t r = 0; r < static_cast<std::size_t>(rows.count); ++r) {
    std::uint32_t* words = matrix.words.data() + place_of_output(matrix, first_output + r).word;
    for (std::size_t input = 0; input < matrix.inputs; ++input) {
      const std::size_t index = (static_cast<std::size_t>(rows.first) + r) * matrix.inputs + input;
      std::uint32_t code = 0;
      bool finite = true;
      if (fp8) {
        code = fp8->codes[index];
        finite = (code & 0x7fu) != 0x7fu;
      } else {
        code = std::get<Fp16Tensor>(rows.tensor->data).codes[index];
        finite = (code & 0x7c00u) != 0x7c00u;
      }
      if (!finite) return bad_weight(*rows.tensor, index, "is not finite");
      words[places[input].word] += code << places[input].shift;
    }
  }
  return {};
}

Status pack_values(PackedMatrix& matrix, const MatrixRows& rows, std::size_t first_output) {
  const std::vector<float> values = rows.tensor->values();
  for (std::size_t r = 0; r < static_cast<std::size_t>(rows.count); ++r) {
    const std::size_t begin = (static_cast<std::size_t>(rows.first) + r) * matrix.inputs;
    const std::span<const float> row(values.data() + begin, matrix.inputs);
    for (std::size_t input = 0; input < matrix.inputs; ++input)
      if (row[input] - row[input] != 0.0f) return bad_weight(*rows.tensor, begin + input, "is not finite");
    set_row(matrix, first_output + r, row);
  }
  return {};
}

}  // namespace

std::size_t inputs_per_word(PackedFormat format) {
  switch (format) {
    case PackedFormat::bits2:
      return 16;
    case PackedFormat::bits4:
      return 8;
    case PackedFormat::base5:
    case PackedFormat::pairs:
      return 12;
    case PackedFormat::columns:
      return 3;
    case PackedFormat::half:
      return 2;
    case PackedFormat::single:
      return 1;
    case PackedFormat::bits8:
    case PackedFormat::e4m3:
      break;
  }
  return 4;
}

int code_at(const PackedMatrix& matrix, std::size_t output, std::size_t input) {
  const Place place = place_of(matrix, input);
  const std::uint32_t word = word_at(matrix, output, place);
  if (matrix.format == PackedFormat::pairs) return static_cast<int>((word & 0x1fu) / place.factor % 5u) - matrix.offset;
  if (matrix.format == PackedFormat::base5 || matrix.format == PackedFormat::columns)
    return static_cast<int>((word & 0xffu) / place.factor % 5u) - matrix.offset;
  return static_cast<int>(word & ((1u << bits_of(matrix.format)) - 1u)) - matrix.offset;
}

float weight_at(const PackedMatrix& matrix, std::size_t output, std::size_t input) {
  if (matrix.quantized()) {
    const float scale = matrix.panel_scales(output / kPanel)[input / matrix.group * kPanel + output % kPanel];
    return static_cast<float>(code_at(matrix, output, input)) * scale;
  }
  const std::uint32_t word = word_at(matrix, output, place_of(matrix, input));
  if (matrix.format == PackedFormat::single) return std::bit_cast<float>(word);
  if (matrix.format == PackedFormat::half) return float_from_half(static_cast<std::uint16_t>(word & 0xffffu));
  return float_from_e4m3(static_cast<std::uint8_t>(word & 0xffu)) * matrix.multiplier;
}

void set_row(PackedMatrix& matrix, std::size_t output, std::span<const float> values) {
  std::uint32_t* words = matrix.words.data() + place_of_output(matrix, output).word;
  for (std::size_t input = 0; input < values.size(); ++input)
    words[input * kPanel] = std::bit_cast<std::uint32_t>(values[input]);
}

Result<PackedMatrix> pack_matrix(std::span<const MatrixRows> parts, Packing packing) {
  PackedMatrix matrix;
  const StoredTensor& first = *parts.front().tensor;
  matrix.inputs = static_cast<std::size_t>(first.spec.shape[1]);
  for (const MatrixRows& rows : parts) {
    matrix.outputs += static_cast<std::size_t>(rows.count);
    if (rows.tensor->data.index() != first.data.index() || rows.tensor->spec.shape[1] != first.spec.shape[1])
      return internal_error("matrices of different storage cannot be packed together: '" + rows.tensor->spec.name +
                            "'");
  }
  if (packing == Packing::single) {
    matrix.group = matrix.inputs;
    matrix.format = PackedFormat::single;
  } else if (const auto* quantized = std::get_if<QuantizedTensor>(&first.data)) {
    const QuantizerConfig& quantizer = quantized->quantizer;
    matrix.group = quantizer.granularity == Granularity::group ? static_cast<std::size_t>(quantizer.group)
                                                               : std::min(matrix.inputs, kLongestGroup);
    matrix.format = choose_format(quantizer.grid, matrix.group, packing);
    const bool digits = matrix.format == PackedFormat::base5 || matrix.format == PackedFormat::columns ||
                        matrix.format == PackedFormat::pairs;
    matrix.offset = digits ? 2 : max_code(quantizer.grid);
  } else {
    matrix.group = matrix.inputs;
    matrix.format = std::holds_alternative<Fp8Tensor>(first.data) ? PackedFormat::e4m3 : PackedFormat::half;
    if (const auto* fp8 = std::get_if<Fp8Tensor>(&first.data)) {
      if (fp8->exponent < -64 || fp8->exponent > 64)
        return bad_data("the exponent of tensor '" + first.spec.name + "' is outside -64 … 64", {}, std::nullopt,
                        first.spec.name);
      matrix.multiplier = std::bit_cast<float>(static_cast<std::uint32_t>(127 + fp8->exponent) << 23);
    }
  }
  allocate(matrix);
  std::vector<Place> places(matrix.inputs);
  for (std::size_t input = 0; input < matrix.inputs; ++input) places[input] = place_of(matrix, input);
  std::size_t output = 0;
  for (const MatrixRows& rows : parts) {
    if (matrix.format == PackedFormat::single)
      P5_OK(pack_values(matrix, rows, output));
    else if (matrix.quantized())
      P5_OK(pack_quantized(matrix, places, rows, output));
    else
      P5_OK(pack_floats(matrix, places, rows, output));
    output += static_cast<std::size_t>(rows.count);
  }
  return matrix;
}

}  // namespace par5
