#include "archive/coder/chain.h"

#include <algorithm>
#include <bit>
#include <string>

#include "archive/coder/order_zero.h"
#include "archive/coder/range_coder.h"
#include "archive/coder/symbol_model.h"

namespace par5::coder {
namespace {

constexpr std::int64_t kMostSymbols = std::int64_t{1} << 36;
constexpr int kShiftBits = 5;      // shifts are -16 … 15
constexpr int kDistanceBits = 10;  // partner distances are 0 … 1023

// `count` bits, most significant first, each with probability 1/2.
template <class Coder>
std::uint32_t code_bits(Coder& coder, std::uint32_t value, int count) {
  std::uint32_t coded = 0;
  for (int b = count - 1; b >= 0; --b) coded = coded << 1 | coder.code((value >> b) & 1, 1u << (kProbabilityBits - 1));
  return coded;
}

bool has_shift(const Alphabet& alphabet) { return alphabet.is_fp8() || alphabet.max_code > 3; }

Status check_alphabet(const Alphabet& alphabet) {
  if (!alphabet.is_fp8() && (alphabet.max_code < 1 || alphabet.max_code > 128))
    return usage_error("the largest code of a chain must be 1 to 128, not " + std::to_string(alphabet.max_code));
  if (!alphabet.is_fp8() && !alphabet.has_zero && alphabet.max_code != 1)
    return usage_error("only the binary grid has no zero");
  return {};
}

Status check_shape(std::int64_t rows, std::int64_t columns, std::size_t codes) {
  const bool positive = rows > 0 && columns > 0;
  if (!positive || rows > kMostSymbols / columns || static_cast<std::uint64_t>(rows * columns) != codes)
    return usage_error("a chain's matrix of " + std::to_string(rows) + " x " + std::to_string(columns) +
                       " does not hold " + std::to_string(codes) + " codes");
  return {};
}

Status check_known(std::int64_t rows, std::span<const std::int16_t> known, bool transposed) {
  if (!known.empty() && (transposed || known.size() % static_cast<std::uint64_t>(rows) != 0))
    return usage_error("known numbers of a chain's matrix must be as many for each row, and it must not be transposed");
  return {};
}

Status check_codes(const Alphabet& alphabet, std::span<const std::int8_t> codes) {
  if (alphabet.is_fp8()) return {};
  for (const std::int8_t code : codes)
    if (code > alphabet.max_code || code < -alphabet.max_code || (code == 0 && !alphabet.has_zero))
      return usage_error("code " + std::to_string(code) + " is not in the chain's alphabet");
  return {};
}

Result<const Kernels*> find_kernels(std::optional<Target> target) {
  if (target && !target_available(*target))
    return usage_error("this CPU lacks the instruction set " + std::string(target_name(*target)));
  return &kernels(target ? *target : best_target());
}

std::vector<std::int8_t> transpose(std::span<const std::int8_t> codes, std::size_t rows, std::size_t columns) {
  std::vector<std::int8_t> out(codes.size());
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < columns; ++c) out[c * rows + r] = codes[r * columns + c];
  return out;
}

// The shift that brings the mean square of a matrix's values to between 1 and 4, or as near as the field allows.
int choose_shift(const Alphabet& alphabet, std::span<const std::int8_t> codes) {
  if (!has_shift(alphabet)) return 0;
  const std::array<float, 256> fp8 = fp8_values();
  double sum = 0;
  for (const std::int8_t code : codes) {
    const double value = alphabet.is_fp8() ? static_cast<double>(fp8[code & 255]) : code;
    sum += value * value;
  }
  double mean = sum / static_cast<double>(codes.size());
  int shift = 0;
  for (; mean >= 4.0 && shift < 15; mean /= 4.0) ++shift;
  for (; mean < 1.0 && shift > -16; mean *= 4.0) --shift;
  return shift;
}

// What a part's header says.
struct PartHeader {
  bool mixed = true;  // false: order-0
  bool transposed = false;
  int shift = 0;
  std::size_t partner_distance = 0;
};

// Writes the header, or gives the one that is read.
template <class Coder>
PartHeader code_header(Coder& coder, const Alphabet& alphabet, const PartHeader& header) {
  PartHeader coded;
  coded.mixed = code_bits(coder, header.mixed, 1) != 0;
  if (!coded.mixed) return coded;
  coded.transposed = code_bits(coder, header.transposed, 1) != 0;
  if (has_shift(alphabet))
    coded.shift = static_cast<int>(code_bits(coder, static_cast<unsigned>(header.shift + 16), kShiftBits)) - 16;
  if (code_bits(coder, header.partner_distance != 0, 1) != 0)
    coded.partner_distance = code_bits(coder, static_cast<std::uint32_t>(header.partner_distance), kDistanceBits);
  return coded;
}

// Codes a part's symbols in the way that its header says, in the order in which they are coded.
template <class Coder>
void code_part(Coder& coder, SymbolModel& model, const PartHeader& header, std::span<std::int8_t> symbols,
               std::size_t rows, std::size_t columns, std::span<const std::int16_t> known) {
  const MatrixSettings settings{header.shift, header.partner_distance, known, known.size() / rows};
  model.code_matrix(coder, symbols, header.transposed ? columns : rows, header.transposed ? rows : columns, settings);
}

Result<EncodedChain> encode(const Alphabet& alphabet, std::span<const ChainPart> parts, bool covariance,
                            const Kernels& target) {
  RangeEncoder coder;
  SymbolModel model(alphabet, covariance, target);
  EncodedChain chain;
  PartBytes ends;
  code_bits(coder, covariance, 1);
  for (const ChainPart& part : parts) {
    const std::size_t rows = static_cast<std::size_t>(part.rows), columns = static_cast<std::size_t>(part.columns);
    std::vector<std::int8_t> codes(part.codes.begin(), part.codes.end());
    PartHeader header{true, part.transposed, choose_shift(alphabet, codes),
                      static_cast<std::size_t>(part.partner_distance)};
    if (header.partner_distance >= (part.transposed ? columns : rows)) header.partner_distance = 0;
    if (part.transposed) codes = transpose(codes, rows, columns);

    const auto code_plainly = [&] {
      code_header(coder, alphabet, {false, false, 0, 0});
      codes.assign(part.codes.begin(), part.codes.end());
      OrderZeroModel(alphabet).code(coder, codes);
    };
    if ((part.transposed ? rows : columns) > kWidestRow) {
      code_plainly();
    } else {
      const RangeEncoder::Mark before = coder.mark();
      const std::uint64_t bytes_before = coder.size();
      const SymbolModel model_before = model;
      code_header(coder, alphabet, header);
      code_part(coder, model, header, codes, rows, columns, part.known);
      if (order_zero_bytes(alphabet, part.codes) < coder.size() - bytes_before) {
        coder.rewind(before);
        model = model_before;
        code_plainly();
      }
    }
    ends.end_part(coder.size());
  }
  chain.bytes = coder.finish();
  chain.part_bytes = ends.finish(chain.bytes.size());
  return chain;
}

}  // namespace

std::int16_t known_log2(std::uint32_t value) {
  const std::uint64_t one_up = std::uint64_t{value} + 1;
  const int exponent = 63 - std::countl_zero(one_up);
  const int mantissa = static_cast<int>((one_up << 8) >> exponent);  // 256 … 511
  return static_cast<std::int16_t>(exponent * 256 + mantissa - 256);
}

Result<EncodedChain> encode_chain(const Alphabet& alphabet, std::span<const ChainPart> parts,
                                  const ChainOptions& options) {
  P5_OK(check_alphabet(alphabet));
  for (const ChainPart& part : parts) {
    P5_OK(check_shape(part.rows, part.columns, part.codes.size()));
    P5_OK(check_known(part.rows, part.known, part.transposed));
    P5_OK(check_codes(alphabet, part.codes));
    if (part.partner_distance < 0 || part.partner_distance >> kDistanceBits != 0)
      return usage_error("a chain's partner distance must be 0 to 1023");
  }
  P5_TRY(const Kernels* target, find_kernels(options.target));
  const IeeeArithmetic arithmetic;
  if (options.covariance != Covariance::automatic)
    return encode(alphabet, parts, options.covariance == Covariance::on, *target);
  P5_TRY(EncodedChain with, encode(alphabet, parts, true, *target));
  P5_TRY(EncodedChain without, encode(alphabet, parts, false, *target));
  return without.bytes.size() <= with.bytes.size() ? std::move(without) : std::move(with);
}

Result<std::vector<std::uint64_t>> decode_chain(const Alphabet& alphabet, std::span<const std::byte> bytes,
                                                std::span<const PartShape> shapes,
                                                std::span<const std::span<std::int8_t>> outputs,
                                                std::optional<Target> target) {
  P5_OK(check_alphabet(alphabet));
  if (shapes.size() != outputs.size()) return usage_error("a chain needs one output for each shape");
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    P5_OK(check_shape(shapes[i].rows, shapes[i].columns, outputs[i].size()));
    P5_OK(check_known(shapes[i].rows, shapes[i].known, false));
  }
  P5_TRY(const Kernels* found, find_kernels(target));
  const IeeeArithmetic arithmetic;
  const auto truncated = [&] { return bad_data("the stream of a chain of matrices ends early", {}, bytes.size()); };

  RangeDecoder coder(bytes);
  SymbolModel model(alphabet, code_bits(coder, 0, 1) != 0, *found);
  PartBytes ends;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const std::size_t rows = static_cast<std::size_t>(shapes[i].rows),
                      columns = static_cast<std::size_t>(shapes[i].columns);
    const PartHeader header = code_header(coder, alphabet, {});
    if (header.partner_distance >= (header.transposed ? columns : rows) ||
        (header.transposed && !shapes[i].known.empty()) ||
        (header.mixed && (header.transposed ? rows : columns) > kWidestRow))
      return bad_data("a matrix of a chain has an impossible header", {}, coder.position());
    if (!header.mixed) {
      OrderZeroModel(alphabet).code(coder, outputs[i]);
    } else if (header.transposed) {
      std::vector<std::int8_t> codes(outputs[i].size());
      code_part(coder, model, header, codes, rows, columns, {});
      const std::vector<std::int8_t> back = transpose(codes, columns, rows);
      std::copy(back.begin(), back.end(), outputs[i].begin());
    } else {
      code_part(coder, model, header, outputs[i], rows, columns, shapes[i].known);
    }
    if (coder.exhausted()) return truncated();
    ends.end_part(coder.size());
  }
  if (coder.exhausted()) return truncated();
  if (!coder.at_end()) return bad_data("the stream of a chain of matrices has bytes left over", {}, coder.position());
  return ends.finish(bytes.size());
}

}  // namespace par5::coder
