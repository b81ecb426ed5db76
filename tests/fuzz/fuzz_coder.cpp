// par5's own coder: any bytes decode to codes of the alphabet or to an error.
#include "archive/coder/bytes.h"
#include "archive/coder/chain.h"
#include "archive/coder/half.h"
#include "tests/fuzz/target.h"

namespace par5 {
namespace {

using coder::Alphabet;

void run_halves(fuzz::Input& input) {
  std::vector<std::vector<std::uint16_t>> vectors(1 + input.below(3));
  for (auto& vector : vectors) vector.resize(1 + input.byte());
  const std::vector<std::span<std::uint16_t>> outputs(vectors.begin(), vectors.end());
  (void)coder::decode_halves(input.rest(), outputs);
}

void run_strings(fuzz::Input& input) {
  std::vector<std::vector<std::byte>> strings(1 + input.below(3));
  for (auto& string : strings) string.resize(1 + input.byte());
  const std::vector<std::span<std::byte>> outputs(strings.begin(), strings.end());
  (void)coder::decode_bytes(input.rest(), outputs);
}

void run_chain(fuzz::Input& input) {
  const unsigned kind = input.byte();
  Alphabet alphabet{Alphabet::Kind::grid, static_cast<int>(1 + kind % 128), true};
  if (kind == 255) alphabet = {Alphabet::Kind::fp8, 0, true};
  if (kind == 254) alphabet = {Alphabet::Kind::grid, 1, false};
  std::vector<coder::PartShape> shapes(1 + input.below(3));
  std::vector<std::vector<std::int8_t>> codes;
  std::vector<std::vector<std::int16_t>> known;
  for (coder::PartShape& shape : shapes) {
    shape.rows = 1 + input.below(24);
    shape.columns = 1 + input.below(24);
    codes.emplace_back(static_cast<std::size_t>(shape.rows * shape.columns));
    known.emplace_back(static_cast<std::size_t>(shape.rows) * input.below(2),
                       static_cast<std::int16_t>(input.byte() * 8));
  }
  for (std::size_t i = 0; i < shapes.size(); ++i) shapes[i].known = known[i];
  const std::vector<std::span<std::int8_t>> outputs(codes.begin(), codes.end());
  (void)coder::decode_chain(alphabet, input.rest(), shapes, outputs);
  // Whatever came of it, every code must be one of the alphabet.
  if (alphabet.is_fp8()) return;
  for (const auto& part : codes)
    for (const std::int8_t code : part) fuzz::require(code >= -alphabet.max_code && code <= alphabet.max_code);
}

void run(std::span<const std::byte> bytes) {
  fuzz::Input input(bytes);
  const unsigned kind = input.byte();
  if (kind == 4)
    run_strings(input);
  else if (kind % 4 == 0)
    run_halves(input);
  else
    run_chain(input);
}

}  // namespace
}  // namespace par5

PAR5_FUZZ_TARGET(coder) { par5::run(bytes); }
