#include "archive/coder/chain.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>

#include "core/hash.h"

namespace par5::coder {
namespace {

struct Matrix {
  std::int64_t rows = 0, columns = 0;
  bool transposed = false;
  std::vector<std::int8_t> codes;
};

const Alphabet kBinary{Alphabet::Kind::grid, 1, false}, kTernary{Alphabet::Kind::grid, 1, true},
    kQuinary{Alphabet::Kind::grid, 2, true}, kSeptenary{Alphabet::Kind::grid, 3, true},
    kFp8{Alphabet::Kind::fp8, 0, true};

Alphabet absmax(int bits) { return {Alphabet::Kind::grid, (1 << (bits - 1)) - 1, true}; }

std::vector<Alphabet> alphabets() {
  return {kBinary,
          kTernary,
          kQuinary,
          kSeptenary,
          absmax(4),
          absmax(5),
          absmax(6),
          absmax(7),
          absmax(8),
          kFp8,
          {Alphabet::Kind::grid, 16, true},
          {Alphabet::Kind::grid, 128, true}};
}

// Codes with column scales and a common direction, so that every part of the model has something to learn.
Matrix structured(const Alphabet& alphabet, std::int64_t rows, std::int64_t columns, std::uint32_t seed,
                  bool transposed = false) {
  std::mt19937 random(seed);
  const auto uniform = [&] { return static_cast<double>(random()) / 4294967296.0 - 0.5; };
  Matrix matrix{rows, columns, transposed, {}};
  std::vector<double> scale, direction;
  for (std::int64_t c = 0; c < columns; ++c) {
    scale.push_back(0.5 + 1.5 * (uniform() + 0.5));
    direction.push_back(uniform());
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const double along = 3 * uniform();
    for (std::int64_t c = 0; c < columns; ++c) {
      const double noise = uniform() + uniform() + uniform() + uniform();
      const double value = scale[static_cast<std::size_t>(c)] * noise + along * direction[static_cast<std::size_t>(c)];
      int code = 0;
      if (alphabet.is_fp8()) {
        code = static_cast<int>(value * 40) & 255;
      } else {
        const double step = alphabet.max_code / 2.0;
        code = std::max(-alphabet.max_code,
                        std::min(alphabet.max_code, static_cast<int>(std::lround(value * 1.4 * step))));
        code = std::min(code, 127);
        if (!alphabet.has_zero) code = value < 0 ? -1 : 1;
      }
      matrix.codes.push_back(static_cast<std::int8_t>(code));
    }
  }
  return matrix;
}

Matrix independent(const std::vector<double>& shares, int lowest, int step, std::int64_t rows, std::int64_t columns,
                   std::uint32_t seed) {
  std::mt19937 random(seed);
  Matrix matrix{rows, columns, false, {}};
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    double u = static_cast<double>(random()) / 4294967296.0;
    std::size_t k = 0;
    while (k + 1 < shares.size() && u >= shares[k]) u -= shares[k++];
    matrix.codes.push_back(static_cast<std::int8_t>(lowest + step * static_cast<int>(k)));
  }
  return matrix;
}

std::vector<ChainPart> parts_of(const std::vector<Matrix>& matrices) {
  std::vector<ChainPart> parts;
  for (const Matrix& m : matrices) parts.push_back({m.rows, m.columns, m.transposed, m.codes});
  return parts;
}

struct Decoded {
  Status status;
  std::vector<std::uint64_t> part_bytes;
  std::vector<std::vector<std::int8_t>> codes;
};

Decoded decode(const Alphabet& alphabet, std::span<const std::byte> bytes, const std::vector<Matrix>& matrices,
               std::optional<Target> target = std::nullopt) {
  Decoded decoded;
  std::vector<PartShape> shapes;
  for (const Matrix& m : matrices) {
    shapes.push_back({m.rows, m.columns});
    decoded.codes.emplace_back(m.codes.size());
  }
  std::vector<std::span<std::int8_t>> outputs(decoded.codes.begin(), decoded.codes.end());
  const auto part_bytes = decode_chain(alphabet, bytes, shapes, outputs, target);
  if (part_bytes)
    decoded.part_bytes = *part_bytes;
  else
    decoded.status = tl::unexpected(part_bytes.error());
  return decoded;
}

void expect_round_trip(const Alphabet& alphabet, const std::vector<Matrix>& matrices,
                       const ChainOptions& options = {}) {
  const auto encoded = encode_chain(alphabet, parts_of(matrices), options);
  ASSERT_TRUE(encoded) << to_string(encoded.error());
  std::uint64_t sum = 0;
  for (const std::uint64_t bytes : encoded->part_bytes) sum += bytes;
  if (!matrices.empty()) {
    EXPECT_EQ(sum, encoded->bytes.size());
  }
  const Decoded decoded = decode(alphabet, encoded->bytes, matrices);
  ASSERT_TRUE(decoded.status) << to_string(decoded.status.error());
  EXPECT_EQ(decoded.part_bytes, encoded->part_bytes);
  for (std::size_t i = 0; i < matrices.size(); ++i) EXPECT_EQ(decoded.codes[i], matrices[i].codes);
}

TEST(Chain, RoundTripsEveryAlphabetAndShape) {
  for (const Alphabet& alphabet : alphabets()) {
    SCOPED_TRACE(alphabet.max_code);
    for (const auto& [rows, columns] : {std::pair{1, 1}, {1, 37}, {41, 1}, {7, 13}, {33, 17}, {16, 48}}) {
      SCOPED_TRACE(rows);
      for (const Covariance covariance : {Covariance::off, Covariance::on})
        expect_round_trip(alphabet,
                          {structured(alphabet, rows, columns, 1), structured(alphabet, columns, rows, 2, true)},
                          {covariance, std::nullopt});
    }
  }
}

TEST(Chain, RoundTripsEveryFp8Byte) {
  Matrix matrix{16, 16, false, {}};
  for (int i = 0; i < 256; ++i) matrix.codes.push_back(static_cast<std::int8_t>(i));
  expect_round_trip(kFp8, {matrix, matrix});
}

TEST(Chain, RoundTripsExtremes) {
  for (const Alphabet& alphabet : alphabets()) {
    if (alphabet.is_fp8()) continue;
    const int most = std::min(alphabet.max_code, 127);
    std::vector<Matrix> matrices;
    for (const int code : {most, -alphabet.max_code, alphabet.has_zero ? 0 : 1})
      matrices.push_back({64, 24, false, std::vector<std::int8_t>(64 * 24, static_cast<std::int8_t>(code))});
    for (int repeat = 0; repeat < 3; ++repeat) matrices.push_back(structured(alphabet, 40, 24, 5));
    expect_round_trip(alphabet, matrices, {Covariance::on, std::nullopt});
  }
}

TEST(Chain, RoundTripsWidthsBeyondPrediction) { expect_round_trip(kQuinary, {structured(kQuinary, 3, 1100, 1)}); }

TEST(Chain, AnEmptyChainIsAShortStream) { expect_round_trip(kQuinary, {}); }

TEST(Chain, CostsNothingOnIndependentSymbols) {
  struct Case {
    Alphabet alphabet;
    std::vector<double> shares;
    int lowest, step;
  };
  const std::vector<Case> cases = {{kQuinary, {0.1157, 0.2293, 0.3100, 0.2293, 0.1157}, -2, 1},
                                   {kQuinary, {0.05, 0.2, 0.5, 0.2, 0.05}, -2, 1},
                                   {kTernary, {0.345, 0.31, 0.345}, -1, 1},
                                   {kBinary, {0.5, 0.5}, -1, 2}};
  for (const Case& one : cases) {
    const Matrix matrix = independent(one.shares, one.lowest, one.step, 500, 400, 11);
    std::map<int, double> counts;
    for (const std::int8_t code : matrix.codes) counts[code] += 1;
    double bits = 0;
    for (const auto& [code, count] : counts)
      bits -= count * std::log2(count / static_cast<double>(matrix.codes.size()));
    const std::vector<Matrix> matrices = {matrix};
    const auto encoded = encode_chain(one.alphabet, parts_of(matrices), {Covariance::off, std::nullopt});
    ASSERT_TRUE(encoded);
    EXPECT_LE(static_cast<double>(encoded->bytes.size()), 1.0005 * bits / 8 + 64) << bits / 8;
  }
}

TEST(Chain, LearnsColumnsAndDirections) {
  const std::vector<Matrix> matrices = {structured(kQuinary, 200, 64, 1), structured(kQuinary, 200, 64, 1)};
  const auto plain = encode_chain(kQuinary, parts_of(matrices), {Covariance::off, std::nullopt});
  const auto full = encode_chain(kQuinary, parts_of(matrices), {Covariance::on, std::nullopt});
  const auto best = encode_chain(kQuinary, parts_of(matrices));
  ASSERT_TRUE(plain && full && best);
  EXPECT_LT(full->bytes.size(), plain->bytes.size() * 99 / 100);
  EXPECT_EQ(best->bytes, full->bytes);
}

// A matrix whose second half of rows repeats the first, but for a few codes.
Matrix repeating(std::int64_t rows, std::int64_t columns, std::uint32_t seed) {
  Matrix matrix = independent({0.12, 0.22, 0.32, 0.22, 0.12}, -2, 1, rows, columns, seed);
  for (std::size_t i = matrix.codes.size() / 2; i < matrix.codes.size(); ++i)
    if (i % 5 != 0) matrix.codes[i] = matrix.codes[i - matrix.codes.size() / 2];
  return matrix;
}

TEST(Chain, HearsARowsPartner) {
  const std::vector<Matrix> matrices = {repeating(64, 96, 3)};
  std::vector<ChainPart> parts = parts_of(matrices);
  const auto without = encode_chain(kQuinary, parts);
  parts[0].partner_distance = 32;
  const auto with = encode_chain(kQuinary, parts);
  ASSERT_TRUE(without && with);
  EXPECT_LT(with->bytes.size(), without->bytes.size() * 9 / 10);
  EXPECT_EQ(decode(kQuinary, with->bytes, matrices).codes[0], matrices[0].codes);
  parts[0].partner_distance = 1023;  // there is no such row
  EXPECT_TRUE(encode_chain(kQuinary, parts));
  parts[0].partner_distance = 1024;
  EXPECT_FALSE(encode_chain(kQuinary, parts));
}

TEST(Chain, RegressesOnKnownNumbers) {
  const Alphabet deltas{Alphabet::Kind::grid, 16, true};
  std::mt19937 random(4);
  std::vector<std::int8_t> codes;
  std::vector<std::int16_t> known;
  for (int i = 0; i < 600; ++i) {
    const int sum = static_cast<int>(random() % 4000);
    known.push_back(known_log2(static_cast<std::uint32_t>(sum)));
    codes.push_back(
        static_cast<std::int8_t>(std::clamp((known.back() - 2700) / 60 + static_cast<int>(random() % 3), -16, 15)));
  }
  ChainPart part{600, 1, false, codes};
  const auto without = encode_chain(deltas, {&part, 1});
  part.known = known;
  const auto with = encode_chain(deltas, {&part, 1});
  ASSERT_TRUE(without && with);
  EXPECT_LT(with->bytes.size(), without->bytes.size() * 4 / 5);
  std::vector<std::int8_t> decoded(600);
  const PartShape shape{600, 1, known};
  const std::span<std::int8_t> output = decoded;
  ASSERT_TRUE(decode_chain(deltas, with->bytes, {&shape, 1}, {&output, 1}));
  EXPECT_EQ(decoded, codes);
  part.known = std::span(known).first(599);
  EXPECT_FALSE(encode_chain(deltas, {&part, 1}));
}

TEST(Chain, LogarithmsOfKnownNumbers) {
  EXPECT_EQ(known_log2(0), 0);
  EXPECT_EQ(known_log2(1), 256);
  EXPECT_EQ(known_log2(2), 256 + 128);
  EXPECT_EQ(known_log2(1023), 2560);
  EXPECT_EQ(known_log2(0xffffffffu), 32 * 256);
}

// The format may not change by accident: other bytes here mean that old artifacts no longer decode.
TEST(Chain, BytesAreThoseOfTheFormat) {
  std::string hashes;
  for (const Alphabet& alphabet : {kBinary, kQuinary, absmax(5), kFp8}) {
    std::vector<ChainPart> parts;
    const std::vector<Matrix> matrices = {structured(alphabet, 70, 40, 1), structured(alphabet, 40, 30, 2, true),
                                          structured(alphabet, 50, 21, 3)};
    for (const Matrix& m : matrices) parts.push_back({m.rows, m.columns, m.transposed, m.codes, {}, 8});
    for (const Covariance covariance : {Covariance::off, Covariance::on}) {
      const auto encoded = encode_chain(alphabet, parts, {covariance, std::nullopt});
      ASSERT_TRUE(encoded);
      hashes += sha256_hex(encoded->bytes).substr(0, 8) + " ";
    }
  }
  EXPECT_EQ(hashes, "ab2b741a c9d1ca5e f65dbe80 ea6a45b0 cf391df3 21f52e68 1fad5390 a64029df ");
}

TEST(Chain, EveryInstructionSetGivesTheSameBytes) {
  for (const Alphabet& alphabet : {kQuinary, absmax(6), kFp8}) {
    const std::vector<Matrix> matrices = {structured(alphabet, 90, 75, 1), structured(alphabet, 75, 50, 2, true)};
    const auto scalar = encode_chain(alphabet, parts_of(matrices), {Covariance::on, Target::scalar});
    ASSERT_TRUE(scalar);
    for (const Target target : {Target::avx2, Target::avx512}) {
      if (!target_available(target)) {
        std::printf("not tested here: %s\n", std::string(target_name(target)).c_str());
        continue;
      }
      const auto other = encode_chain(alphabet, parts_of(matrices), {Covariance::on, target});
      ASSERT_TRUE(other);
      EXPECT_EQ(scalar->bytes, other->bytes) << target_name(target);
      EXPECT_EQ(decode(alphabet, scalar->bytes, matrices, target).codes[1], matrices[1].codes);
    }
  }
}

TEST(Chain, RefusesWhatCannotBeCoded) {
  const std::vector<std::int8_t> codes = {0, 1, 2, 3};
  const auto error_of = [&](const Alphabet& alphabet, std::int64_t rows, std::int64_t columns) {
    const ChainPart part{rows, columns, false, codes};
    const auto encoded = encode_chain(alphabet, {&part, 1});
    return encoded ? std::string() : std::string(error_name(encoded.error().code));
  };
  EXPECT_EQ(error_of(kSeptenary, 2, 2), "");
  EXPECT_EQ(error_of(kQuinary, 2, 2), "usage");
  EXPECT_EQ(error_of(kBinary, 2, 2), "usage");
  EXPECT_EQ(error_of(kSeptenary, 2, 3), "usage");
  EXPECT_EQ(error_of(kSeptenary, 0, 4), "usage");
  EXPECT_EQ(error_of(kSeptenary, std::int64_t{1} << 40, std::int64_t{1} << 40), "usage");
  EXPECT_EQ(error_of({Alphabet::Kind::grid, 129, true}, 2, 2), "usage");
  EXPECT_EQ(error_of({Alphabet::Kind::grid, 3, false}, 2, 2), "usage");
}

// Codes after an error mean nothing.
bool in_alphabet(const Alphabet& alphabet, const Decoded& decoded) {
  if (!decoded.status) return true;
  for (const auto& codes : decoded.codes)
    for (const std::int8_t code : codes)
      if (!alphabet.is_fp8() && (std::abs(code) > alphabet.max_code || (code == 0 && !alphabet.has_zero))) return false;
  return true;
}

TEST(Chain, EveryTruncationAndEveryExtraByteIsNoticed) {
  const std::vector<Matrix> matrices = {structured(kQuinary, 20, 24, 1), structured(kQuinary, 24, 20, 2, true)};
  for (const Covariance covariance : {Covariance::off, Covariance::on}) {
    const auto encoded = encode_chain(kQuinary, parts_of(matrices), {covariance, std::nullopt});
    ASSERT_TRUE(encoded);
    for (std::size_t length = 0; length < encoded->bytes.size(); ++length) {
      const Decoded decoded = decode(kQuinary, std::span(encoded->bytes).first(length), matrices);
      ASSERT_FALSE(decoded.status) << length;
      EXPECT_EQ(decoded.status.error().code, ErrorCode::bad_data);
    }
    std::vector<std::byte> longer = encoded->bytes;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode(kQuinary, longer, matrices).status);
  }
}

TEST(Chain, HostileBytesGiveCodesInRangeOrAnError) {
  std::mt19937 random(99);
  for (const Alphabet& alphabet : alphabets()) {
    const std::vector<Matrix> matrices = {structured(alphabet, 9, 18, 1), structured(alphabet, 18, 5, 2, true)};
    const auto encoded = encode_chain(alphabet, parts_of(matrices), {Covariance::on, std::nullopt});
    ASSERT_TRUE(encoded);
    for (int round = 0; round < 120; ++round) {
      std::vector<std::byte> bytes = encoded->bytes;
      if (round % 3 == 0) {
        bytes.resize(random() % 400);
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
      } else if (round % 3 == 1) {
        bytes[random() % bytes.size()] ^= static_cast<std::byte>(1u << random() % 8);
      } else {
        bytes.assign(random() % 400, static_cast<std::byte>(round % 2 ? 0xff : 0));
      }
      EXPECT_TRUE(in_alphabet(alphabet, decode(alphabet, bytes, matrices)));
    }
  }
}

}  // namespace
}  // namespace par5::coder
