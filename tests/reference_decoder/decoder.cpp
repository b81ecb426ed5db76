// A second decoder of par5 artifacts, written from docs/format.md alone: slow, single-threaded, no project headers.
// It prints a hash of every decoded value, which the tests compare with what par5 decodes.
#define ZSTD_STATIC_LINKING_ONLY  // magicless frames
#include <brotli/decode.h>
#include <lzma.h>
#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "own_coder.h"

namespace {

using Bytes = std::vector<std::uint8_t>;

[[noreturn]] void refuse(const std::string& why) { throw std::runtime_error(why); }
void require(bool condition, const char* why) {
  if (!condition) refuse(why);
}

// ---- bytes ----------------------------------------------------------------------------------------------------------

struct Cursor {
  const Bytes& bytes;
  std::size_t at, end;

  std::uint8_t byte() {
    require(at < end, "ends too early");
    return bytes[at++];
  }
  std::uint64_t fixed(int width) {
    std::uint64_t value = 0;
    for (int i = 0; i < width; ++i) value |= std::uint64_t{byte()} << (8 * i);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int i = 0; i < 10; ++i) {
      const std::uint64_t b = byte();
      require(i < 9 || b <= 1, "varint beyond 64 bits");
      value |= (b & 127) << (7 * i);
      if (b < 128) {
        require(i == 0 || b != 0, "varint not in its shortest form");
        return value;
      }
    }
    refuse("varint too long");
  }
  Bytes take(std::uint64_t count) {
    require(count <= end - at, "ends too early");
    Bytes part(bytes.begin() + static_cast<std::ptrdiff_t>(at),
               bytes.begin() + static_cast<std::ptrdiff_t>(at + count));
    at += count;
    return part;
  }
  Bytes counted(std::uint64_t limit) {
    const std::uint64_t count = varint();
    require(count <= limit, "a length is too large");
    return take(count);
  }
};

std::uint64_t xxh3(const Bytes& bytes, std::size_t count) { return XXH3_64bits(bytes.data(), count); }

float half(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  require(exponent != 31, "fp16 value is not finite");
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>(bits & 0x8000 ? -magnitude : magnitude);
}

float e4m3(std::uint8_t bits) {
  require((bits & 0x7f) != 0x7f, "fp8 value is not a number");
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return static_cast<float>(bits & 0x80 ? -magnitude : magnitude);
}

// ---- metadata and tensors -------------------------------------------------------------------------------------------

struct Facts {
  std::map<int, std::uint64_t> integers = {{1, 10},   {2, 576},   {3, 6},    {4, 3},  {5, 2304}, {6, 16384}, {7, 380},
                                           {8, 1024}, {9, 2},     {10, 192}, {11, 0}, {12, 16},  {15, 0},    {16, 0},
                                           {17, 0},   {18, 0},    {19, 0},   {20, 1}, {21, 1},   {22, 0},    {23, 1},
                                           {26, 1},   {27, 2048}, {28, 0},   {29, 2}, {34, 0}};
  Bytes fp8_exponents;
  std::int64_t operator[](int number) const { return static_cast<std::int64_t>(integers.at(number)); }
};

Facts read_facts(Cursor& in) {
  Facts facts;
  std::uint64_t last = 0;
  bool named = false;
  for (std::uint64_t left = in.varint(); left > 0; --left) {
    const std::uint64_t tag = in.varint(), number = tag / 8, type = tag / 2 % 4;
    std::string name;
    if (number == 0) {
      const Bytes text = in.counted(64);
      name.assign(text.begin(), text.end());
      named = true;
    } else {
      require(!named && number > last, "keys out of order");
      require(number <= 34, "unknown key number");
      last = number;
    }
    std::uint64_t integer = 0;
    Bytes bytes;
    if (type == 0) integer = in.varint();
    if (type == 1) in.fixed(8);
    if (type >= 2) bytes = in.counted(65536);
    if (number == 0 && tag % 2 == 1) refuse("unknown required key " + name);
    if (number == 0) continue;
    if (facts.integers.count(static_cast<int>(number)) != 0) {
      require(type == 0, "wrong type");
      facts.integers[static_cast<int>(number)] = integer;
    }
    if (number == 32) facts.fp8_exponents = bytes;
  }
  return facts;
}

enum class Kind { quantised, fp8, fp16 };
// What the codes of another matrix say of a matrix's scales: nothing; those of mlp.proj; those of attn.proj, by head.
enum class Known { nothing, hidden_units, value_channels };
struct TensorPlan {
  std::vector<std::int64_t> shape;
  Kind kind;
  std::vector<std::int64_t> part_rows;  // of a fused matrix; otherwise all rows
  std::vector<Known> known = {};        // by part; none: nothing
  std::size_t reader = 0;               // the index of that other matrix
};

std::vector<TensorPlan> plan_tensors(const Facts& f) {
  std::vector<TensorPlan> tensors;
  const std::int64_t layers = f[1], d = f[2], k = f[4] * (d / f[3]), m = f[5], vocab = f[6], e = f[7];
  const Kind embedding = f[19] == 0 ? Kind::fp8 : f[19] == 1 ? Kind::fp16 : Kind::quantised;
  const auto quantised = [&](std::int64_t rows, std::int64_t columns, Known known = Known::nothing,
                             std::size_t reader = 0) {
    tensors.push_back({{rows, columns}, Kind::quantised, {rows}, {known}, reader == 0 ? 0 : tensors.size() + reader});
  };
  const auto vector = [&](std::int64_t n) { tensors.push_back({{n}, Kind::fp16, {}}); };
  const std::vector<Known> of_fused = {Known::nothing, Known::nothing, Known::value_channels};
  if (f[17] == 0) {
    tensors.push_back({{vocab, e}, embedding, {vocab}});
    if (e != d) {
      tensors.push_back({{d, e}, embedding, {d}});
      tensors.push_back({{e, d}, embedding, {e}});
    }
    for (std::int64_t i = 0; i < layers; ++i) {
      if (f[20] == 1) {
        tensors.push_back({{d + 2 * k, d}, Kind::quantised, {d, k, k}, of_fused, tensors.size() + 1});
      } else {
        quantised(d, d);
        quantised(k, d);
        quantised(k, d, Known::value_channels, 1);
      }
      quantised(d, d);
      vector(f[3]);
      quantised(f[18] == 2 ? 2 * m : m, d, Known::hidden_units, 1);
      quantised(d, m);
      vector(d);
      vector(d);
      tensors.push_back({{2, d}, Kind::fp16, {}});
    }
    if (layers >= 2) tensors.push_back({{layers / 2, d}, Kind::fp16, {}});
    if (f[21] == 1) vector(vocab);
  } else {
    tensors.push_back({{vocab, d}, embedding, {vocab}});
    tensors.push_back({{f[8], d}, Kind::fp16, {}});
    for (std::int64_t i = 0; i < layers; ++i) {
      vector(d);
      tensors.push_back({{3 * d, d}, Kind::quantised, {d, d, d}, of_fused, tensors.size() + 1});
      quantised(d, d);
      vector(d);
      quantised(m, d, Known::hidden_units, 1);
      quantised(d, m);
    }
    vector(d);
  }
  return tensors;
}

// ---- codecs ---------------------------------------------------------------------------------------------------------

Bytes decode_lzma(const Bytes& stored, std::size_t size) {
  require(!stored.empty(), "empty LZMA stream");
  lzma_options_lzma options{};
  options.lc = stored[0] % 9u;
  options.lp = stored[0] / 9u % 5u;
  options.pb = stored[0] / 45u;
  require(options.lc + options.lp <= 4 && options.pb <= 4, "LZMA properties");
  options.dict_size = static_cast<std::uint32_t>(size < 4096 ? 4096 : size);
  lzma_set_ext_size(options, size);
  const lzma_filter filters[] = {{LZMA_FILTER_LZMA1EXT, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  Bytes input = stored, out(size);
  input[0] = 0;
  std::size_t read = 0, written = 0;
  require(lzma_raw_buffer_decode(filters, nullptr, input.data(), &read, input.size(), out.data(), &written, size) ==
                  LZMA_OK &&
              read == input.size() && written == size,
          "malformed LZMA stream");
  return out;
}

Bytes decode_zstd(const Bytes& stored, std::size_t size) {
  Bytes out(size);
  ZSTD_DCtx* context = ZSTD_createDCtx();
  ZSTD_DCtx_setParameter(context, ZSTD_d_format, ZSTD_f_zstd1_magicless);
  const std::size_t written = ZSTD_decompressDCtx(context, out.data(), size, stored.data(), stored.size());
  ZSTD_freeDCtx(context);
  require(written == size, "malformed zstd stream");
  return out;
}

Bytes decode_brotli(const Bytes& stored, std::size_t size) {
  Bytes out(size);
  std::size_t written = size;
  require(
      BrotliDecoderDecompress(stored.size(), stored.data(), &written, out.data()) == BROTLI_DECODER_RESULT_SUCCESS &&
          written == size,
      "malformed brotli stream");
  return out;
}

// ---- layouts --------------------------------------------------------------------------------------------------------

// In `values` the k-th element of the column-by-column order, put back row by row.
template <class T>
std::vector<T> upright(const std::vector<T>& values, std::int64_t rows, std::int64_t columns) {
  std::vector<T> out(values.size());
  std::size_t k = 0;
  for (std::int64_t c = 0; c < columns; ++c)
    for (std::int64_t r = 0; r < rows; ++r) out[static_cast<std::size_t>(r * columns + c)] = values[k++];
  return out;
}

// One plane of `count` bits.
std::vector<bool> plane(const Bytes& bytes, std::size_t& at, std::size_t count) {
  std::vector<bool> bits(count);
  const std::size_t size = (count + 7) / 8;
  require(bytes.size() - at >= size, "planes too short");
  for (std::size_t i = 0; i < size * 8; ++i) {
    const bool bit = bytes[at + i / 8] >> (i % 8) & 1;
    if (i < count)
      bits[i] = bit;
    else
      require(!bit, "padding is not zero");
  }
  at += size;
  return bits;
}

// Symbols 0 … levels - 1, in the layout's own order.
std::vector<int> symbols(const Bytes& bytes, int layout, std::size_t count, int levels) {
  std::vector<int> out;
  if (layout == 0) {
    out.assign(bytes.begin(), bytes.end());
  } else if (layout == 2) {
    int bits = 0;
    while ((1 << bits) < levels) ++bits;
    out.assign(count, 0);
    std::size_t at = 0;
    for (int b = bits; b-- > 0;) {
      const auto set = plane(bytes, at, count);
      for (std::size_t i = 0; i < count; ++i) out[i] |= set[i] << b;
    }
    require(at == bytes.size(), "planes too long");
  } else {
    const int base = layout == 4 ? 5 : 3, per_byte = layout == 4 ? 3 : 5;
    require(levels == base, "layout does not fit the grid");
    for (int byte : bytes) {
      for (int i = 0; i < per_byte; ++i, byte /= base) out.push_back(byte % base);
      require(byte == 0, "byte too large");
    }
    require(out.size() >= count && out.size() < count + static_cast<std::size_t>(per_byte), "wrong length");
    for (; out.size() > count; out.pop_back()) require(out.back() == 0, "padding is not zero");
  }
  require(out.size() == count, "wrong length");
  for (const int symbol : out) require(symbol < levels, "symbol beyond the grid");
  return out;
}

std::vector<int> sign_planes(const Bytes& bytes, std::size_t count, int largest) {
  std::size_t at = 0;
  const auto nonzero = plane(bytes, at, count);
  std::vector<std::size_t> members;
  for (std::size_t i = 0; i < count; ++i)
    if (nonzero[i]) members.push_back(i);
  std::vector<int> codes(count, 0);
  const auto positive = plane(bytes, at, members.size());
  for (std::size_t k = 0; k < members.size(); ++k) codes[members[k]] = positive[k] ? 1 : -1;
  for (int m = 1; m < largest; ++m) {
    const auto above = plane(bytes, at, members.size());
    std::vector<std::size_t> larger;
    for (std::size_t k = 0; k < members.size(); ++k) {
      if (!above[k]) continue;
      codes[members[k]] += codes[members[k]] > 0 ? 1 : -1;
      larger.push_back(members[k]);
    }
    members = larger;
  }
  require(at == bytes.size(), "planes too long");
  return codes;
}

std::vector<std::uint16_t> halves(const Bytes& bytes, int layout, std::size_t count) {
  require(bytes.size() == 2 * count, "wrong length");
  std::vector<std::uint16_t> out(count);
  for (std::size_t i = 0; i < count; ++i)
    out[i] = static_cast<std::uint16_t>(layout == 8 ? bytes[i] | bytes[count + i] << 8
                                                    : bytes[2 * i] | bytes[2 * i + 1] << 8);
  return out;
}

// ---- scales ---------------------------------------------------------------------------------------------------------

std::uint16_t reconstruct(std::uint16_t anchor, std::uint16_t step, int delta) {
  const std::int64_t roots[24] = {3037000500, 2553802834, 2341847524, 2242560872, 2194507417, 2170868212,
                                  2159144272, 2153306067, 2150392887, 2148937775, 2148210589, 2147847087,
                                  2147665360, 2147574502, 2147529075, 2147506361, 2147495005, 2147489326,
                                  2147486487, 2147485068, 2147484358, 2147484003, 2147483825, 2147483737};
  const auto fixed = [](std::uint16_t bits) {
    const std::int64_t x = bits >> 10 & 31, mantissa = bits & 1023;
    require(x != 31, "anchor or step is not finite");
    const std::int64_t magnitude = x == 0 ? mantissa : (1024 + mantissa) << (x - 1);
    return bits & 0x8000 ? -magnitude : magnitude;
  };
  require(step < 0x8000, "step is negative");
  const std::int64_t v = fixed(anchor) + delta * fixed(step), unit = std::int64_t{1} << 24;
  std::int64_t exponent = v / unit, fraction = v % unit;
  if (fraction < 0) {
    fraction += unit;
    --exponent;
  }
  if (exponent > 15) return 0x7bff;
  if (exponent < -26) return 1;
  std::uint64_t mantissa = std::uint64_t{1} << 31;
  for (int k = 1; k <= 24; ++k)
    if (fraction >> (24 - k) & 1)
      mantissa = (mantissa * static_cast<std::uint64_t>(roots[k - 1]) + (std::uint64_t{1} << 30)) >> 31;
  const int shift = exponent >= -14 ? 21 : 7 - static_cast<int>(exponent);
  std::uint64_t rounded = mantissa >> shift;
  const std::uint64_t rest = mantissa - (rounded << shift), tie = std::uint64_t{1} << (shift - 1);
  if (rest > tie || (rest == tie && rounded % 2 == 1)) ++rounded;
  const std::int64_t bits = static_cast<std::int64_t>(rounded) + (exponent >= -14 ? (exponent + 14) * 1024 : 0);
  return static_cast<std::uint16_t>(bits < 1 ? 1 : bits > 0x7bff ? 0x7bff : bits);
}

// ---- tokenizer ------------------------------------------------------------------------------------------------------

// A hash over everything that the stream says: text fields and pieces with their types and score bits.
std::uint64_t tokenizer_hash(const Bytes& bytes, std::uint64_t vocab) {
  Cursor in{bytes, 0, bytes.size()};
  std::string text;
  const auto add = [&text](const Bytes& part) { text.append(part.begin(), part.end()), text.push_back('\n'); };
  const std::uint64_t count = in.varint();
  require(count == vocab && count <= 65536, "pieces do not fit the vocabulary");
  const int model = in.byte(), flags = in.byte();
  require(model < 4 && flags < 64, "unknown tokenizer form");
  text += std::to_string(model) + " " + std::to_string(flags & 15) + "\n";
  add(in.counted(4096));
  add(in.counted(32));
  add(in.counted(1 << 22));
  add(in.counted(4096));
  std::vector<int> types;
  while (types.size() < count) {
    const int type = in.byte();
    const std::uint64_t run = in.varint();
    require(type >= 1 && type <= 6 && run >= 1 && run <= count - types.size(), "impossible types");
    types.insert(types.end(), run, type);
  }
  std::vector<std::uint32_t> scores(count, 0);
  std::uint32_t rank = 0;
  for (std::size_t i = 0; i < count && (flags & 16); ++i)
    if (types[i] == 1) {
      const float score = -static_cast<float>(rank++);
      std::memcpy(&scores[i], &score, 4);
    }
  for (int p = 0; p < 4 && !(flags & 16); ++p)
    for (std::size_t i = 0; i < count; ++i) scores[i] |= std::uint32_t{in.byte()} << (8 * p);
  std::vector<std::uint64_t> lengths(count, 0);
  for (std::size_t i = 0; i < count; ++i)
    if (!(flags & 32 && types[i] == 6)) lengths[i] = in.varint();
  int byte_index = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Bytes piece;
    if (flags & 32 && types[i] == 6) {
      char name[16];
      std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte_index++ & 0xffff));
      piece.assign(name, name + std::strlen(name));
    } else {
      piece = in.take(lengths[i]);
    }
    add(piece);
    text += std::to_string(types[i]) + " " + std::to_string(scores[i]) + "\n";
  }
  require(in.at == in.end, "bytes after the tokenizer");
  return XXH3_64bits(text.data(), text.size());
}

// ---- the file -------------------------------------------------------------------------------------------------------

struct Stream {
  int codec = 0, layout = 0;  // of a chain the layout is its number
  std::uint64_t stored = 0, size = 0;
  std::uint32_t checksum = 0;
  int part = 0;  // 0 tokenizer, 1 self-test, 2 codes, 3 scales, 4 values
  std::size_t tensor = 0;
  std::int64_t first_row = 0, rows = 0, columns = 0;
  std::vector<std::size_t> chained;  // the streams that follow this one in its chain
  bool in_chain = false;             // of an earlier stream
};

// The numbers that are known of the rows of part `which` of a tensor, once all codes are.
std::vector<int> known_numbers(const Facts& f, const std::vector<TensorPlan>& plans,
                               const std::vector<std::vector<int>>& codes, std::size_t tensor, std::size_t which) {
  const TensorPlan& plan = plans[tensor];
  std::vector<int> known(static_cast<std::size_t>(plan.part_rows[which]), 0);
  const Known kind = plan.known.empty() ? Known::nothing : plan.known[which];
  if (kind == Known::nothing) return known;
  const auto columns = static_cast<std::size_t>(plans[plan.reader].shape[1]);
  std::vector<std::uint64_t> sums(columns, 0);
  for (std::size_t i = 0; i < codes[plan.reader].size(); ++i)
    sums[i % columns] += static_cast<std::uint64_t>(std::abs(codes[plan.reader][i]));
  const auto width = static_cast<std::size_t>(f[2] / f[3]), heads = static_cast<std::size_t>(f[3] / f[4]);
  for (std::size_t i = 0; i < known.size(); ++i) {
    std::uint64_t n = 0;
    if (kind == Known::hidden_units) n = sums[i % columns];
    for (std::size_t h = 0; h < heads && kind == Known::value_channels; ++h)
      n += sums[(i / width * heads + h) * width + i % width];
    int e = 0;
    while ((n + 1) >> (e + 1) != 0) ++e;
    known[i] = 256 * e + static_cast<int>(((n + 1) << 8) >> e) - 256;
  }
  return known;
}

// What the streams of a chain are in the layout `bytes`, one after the other.
Bytes decode_chain(const Facts& f, const std::vector<TensorPlan>& plans, const std::vector<std::vector<int>>& codes,
                   const std::vector<Stream>& members, const Bytes& stored) {
  const int grid = static_cast<int>(f[9]), scale_bits = static_cast<int>(f[12]);
  const int largest = grid == 0 ? 1 : grid <= 3 ? grid : (1 << (grid - 1)) - 1;
  const int part = members[0].part;
  const Kind kind = plans[members[0].tensor].kind;
  Bytes out;
  if (kind == Kind::fp16 || (part == 3 && scale_bits == 16)) {
    std::vector<std::size_t> lengths;
    for (const Stream& stream : members) lengths.push_back(static_cast<std::size_t>(stream.rows * stream.columns));
    for (const auto& vector : reference::decode_halves(lengths, stored))
      for (const std::uint16_t value : vector) {
        out.push_back(static_cast<std::uint8_t>(value & 255));
        out.push_back(static_cast<std::uint8_t>(value >> 8));
      }
    return out;
  }
  reference::Alphabet alphabet{kind == Kind::fp8, largest, grid != 0};
  if (part == 3) alphabet = {false, 1 << (scale_bits - 1), true};
  std::vector<reference::Matrix> matrices;
  std::vector<bool> begins;  // a stream
  for (const Stream& stream : members) {
    const std::size_t first = matrices.size();
    if (part == 3 && f[11] != 2)
      for (std::size_t p = 0; p < plans[stream.tensor].part_rows.size(); ++p)
        matrices.push_back({plans[stream.tensor].part_rows[p], stream.columns,
                            known_numbers(f, plans, codes, stream.tensor, p)});
    else
      matrices.push_back({stream.rows, stream.columns, {}});
    begins.resize(matrices.size(), false);
    begins[first] = true;
  }
  const std::size_t head = part == 3 ? 4 * members.size() : 0;
  require(stored.size() >= head, "a chain of scales is too short");
  const auto decoded =
      reference::decode_chain(alphabet, matrices, Bytes(stored.begin() + static_cast<std::ptrdiff_t>(head), stored.end()));
  std::size_t at = 0;
  for (std::size_t i = 0; i < decoded.size(); ++i) {
    for (int k = 0; k < 4 && part == 3 && begins[i]; ++k) out.push_back(stored[at++]);
    for (const int symbol : decoded[i])
      out.push_back(static_cast<std::uint8_t>(alphabet.fp8 ? symbol : alphabet.has_zero ? symbol + alphabet.most : symbol > 0));
  }
  return out;
}

void decode(const Bytes& file) {
  require(file.size() >= 18 && std::memcmp(file.data(), "par5", 4) == 0 && file[4] == 1,
          "not a par5 artifact of version 1");
  Cursor in{file, 5, file.size()};
  const std::uint64_t head = in.varint();
  require(head <= in.end - in.at && head <= (1 << 24), "head too long");
  const std::size_t head_end = in.at + head;
  Cursor body{file, in.at, head_end};
  in.at = head_end;
  require(in.fixed(4) == (xxh3(file, head_end) & 0xffffffff), "head checksum");
  const Facts facts = read_facts(body);
  const auto plans = plan_tensors(facts);
  const std::int64_t scale_bits = facts[12];
  const int grid = static_cast<int>(facts[9]);
  const int largest = grid == 0 ? 1 : grid <= 3 ? grid : (1 << (grid - 1)) - 1;
  const int levels = grid == 0 ? 2 : 2 * largest + 1;
  const bool has_sign_planes = grid >= 1 && grid <= 3;

  std::vector<Stream> streams;
  const auto add = [&](int part, std::size_t tensor, std::int64_t first, std::int64_t rows, std::int64_t columns) {
    Stream stream;
    stream.part = part;
    stream.tensor = tensor;
    stream.first_row = first;
    stream.rows = rows;
    stream.columns = columns;
    streams.push_back(stream);
  };
  if (facts[15] > 0) add(0, 0, 0, 0, 0);
  if (facts[16] > 0) add(1, 0, 0, 0, 0);
  std::vector<std::int64_t> groups(plans.size(), 1);
  for (std::size_t t = 0; t < plans.size(); ++t) {
    if (plans[t].kind != Kind::quantised) continue;
    std::int64_t first = 0;
    for (const std::int64_t rows : plans[t].part_rows) {
      add(2, t, first, rows, plans[t].shape[1]);
      first += rows;
    }
  }
  for (std::size_t t = 0; t < plans.size(); ++t)
    if (plans[t].kind == Kind::quantised) {
      if (facts[11] == 0) groups[t] = plans[t].shape[1] / facts[10];
      add(3, t, 0, facts[11] == 2 ? 1 : plans[t].shape[0], groups[t]);
    }
  for (std::size_t t = 0; t < plans.size(); ++t)
    if (plans[t].kind != Kind::quantised)
      add(4, t, 0, plans[t].shape[0], plans[t].shape.size() == 2 ? plans[t].shape[1] : 1);

  std::map<std::vector<int>, std::size_t> chains;  // by part, kind and number
  for (std::size_t i = 0; i < streams.size(); ++i) {
    Stream& stream = streams[i];
    const int coding = body.byte();
    stream.codec = coding / 16;
    stream.layout = coding % 16;
    require(stream.codec <= 4 && (stream.codec == 4 || stream.layout <= 9), "unknown codec or layout");
    if (stream.codec != 4) continue;
    require(stream.part >= 2, "a chain of what is no tensor");
    const auto [first, is_new] = chains.try_emplace(
        {stream.part, static_cast<int>(plans[stream.tensor].kind), stream.layout}, i);
    stream.in_chain = !is_new;
    if (!is_new) streams[first->second].chained.push_back(i);
  }
  for (Stream& stream : streams) {
    const auto count = static_cast<std::uint64_t>(stream.rows * stream.columns);
    const int shape = stream.codec == 4 ? 0 : stream.layout & ~1;
    if (!stream.in_chain) stream.stored = body.varint();
    if (stream.part == 0) stream.size = static_cast<std::uint64_t>(facts[15]);
    if (stream.part == 1) stream.size = static_cast<std::uint64_t>(facts[16]);
    if (stream.part == 2) {
      if (shape == 0) stream.size = count;
      if (shape == 4) stream.size = (count + 2) / 3;
      if (shape == 6) stream.size = (count + 4) / 5;
      if (shape == 2 && has_sign_planes) {
        stream.size = body.varint();
        require(stream.size <= static_cast<std::uint64_t>(1 + largest) * ((count + 7) / 8), "planes claim too much");
      } else if (shape == 2) {
        int bits = 0;
        while ((1 << bits) < levels) ++bits;
        stream.size = static_cast<std::uint64_t>(bits) * ((count + 7) / 8);
      }
    }
    if (stream.part == 3 && scale_bits == 16) stream.size = 2 * count;
    if (stream.part == 3 && scale_bits < 16)
      stream.size = 4 + (shape == 2 ? static_cast<std::uint64_t>(scale_bits) * ((count + 7) / 8) : count);
    if (stream.part == 4) stream.size = (plans[stream.tensor].kind == Kind::fp8 ? 1 : 2) * count;
  }
  for (Stream& stream : streams)
    if (!stream.in_chain) stream.checksum = static_cast<std::uint32_t>(body.fixed(4));
  require(body.at == body.end, "bytes after the directory");

  std::vector<std::vector<int>> codes(plans.size());
  std::vector<std::vector<std::uint16_t>> scales(plans.size());
  std::vector<std::vector<float>> values(plans.size());
  // Codes come before scales in the file, so that what a chain of scales needs is there.
  const auto place = [&](const Stream& stream, const Bytes& bytes) {
    const bool turned = stream.codec != 4 && stream.layout % 2 == 1;
    const int layout = stream.codec == 4 ? 0 : stream.layout & ~1;
    const auto count = static_cast<std::size_t>(stream.rows * stream.columns);
    if (stream.part == 0)
      std::printf("tokenizer %016llx\n", static_cast<unsigned long long>(tokenizer_hash(bytes, facts.integers.at(6))));
    if (stream.part == 2) {
      std::vector<int> part;
      if (layout == 2 && has_sign_planes) {
        part = sign_planes(bytes, count, largest);
      } else {
        part = symbols(bytes, layout, count, levels);
        for (int& code : part) code = grid == 0 ? 2 * code - 1 : code - largest;
      }
      if (turned) part = upright(part, stream.rows, stream.columns);
      auto& of_tensor = codes[stream.tensor];
      of_tensor.resize(static_cast<std::size_t>(plans[stream.tensor].shape[0] * stream.columns));
      std::copy(part.begin(), part.end(), of_tensor.begin() + stream.first_row * stream.columns);
    }
    if (stream.part == 3) {
      std::vector<std::uint16_t> list;
      if (scale_bits == 16) {
        list = halves(bytes, layout, count);
        for (const std::uint16_t scale : list) require(scale > 0 && scale < 0x7c00, "scale is not positive and finite");
      } else {
        const auto anchor = static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8),
                   step = static_cast<std::uint16_t>(bytes[2] | bytes[3] << 8);
        for (const int symbol : symbols(Bytes(bytes.begin() + 4, bytes.end()), layout, count, 1 << scale_bits))
          list.push_back(reconstruct(anchor, step, symbol - (1 << (scale_bits - 1))));
      }
      scales[stream.tensor] = turned ? upright(list, stream.rows, stream.columns) : list;
    }
    if (stream.part == 4) {
      std::vector<float> list;
      if (plans[stream.tensor].kind == Kind::fp8) {
        const auto earlier = static_cast<std::size_t>(
            std::count_if(plans.begin(), plans.begin() + static_cast<std::ptrdiff_t>(stream.tensor),
                          [](const TensorPlan& plan) { return plan.kind == Kind::fp8; }));
        const int exponent = facts.fp8_exponents.empty() ? 0 : static_cast<std::int8_t>(facts.fp8_exponents.at(earlier));
        for (const std::uint8_t code : bytes) list.push_back(std::ldexp(e4m3(code), exponent));
      } else {
        for (const std::uint16_t code : halves(bytes, layout, count)) list.push_back(half(code));
      }
      values[stream.tensor] = turned ? upright(list, stream.rows, stream.columns) : list;
    }
  };
  for (const Stream& stream : streams) {
    if (stream.in_chain) continue;
    const Bytes stored = in.take(stream.stored);
    std::vector<Stream> members = {stream};
    for (const std::size_t i : stream.chained) members.push_back(streams[i]);
    std::size_t size = 0;
    for (const Stream& member : members) size += member.size;
    const Bytes bytes = stream.codec == 0   ? stored
                        : stream.codec == 1 ? decode_lzma(stored, size)
                        : stream.codec == 2 ? decode_zstd(stored, size)
                        : stream.codec == 3 ? decode_brotli(stored, size)
                                            : decode_chain(facts, plans, codes, members, stored);
    require(bytes.size() == size, "wrong size of a raw stream");
    require(static_cast<std::uint32_t>(xxh3(bytes, size)) == stream.checksum, "stream checksum");
    Cursor rest{bytes, 0, size};
    for (const Stream& member : members) place(member, rest.take(member.size));
  }
  require(in.end - in.at == 8 && in.fixed(8) == xxh3(file, file.size() - 8), "file checksum");

  XXH3_state_t* hash = XXH3_createState();
  XXH3_64bits_reset(hash);
  std::size_t total = 0;
  for (std::size_t t = 0; t < plans.size(); ++t) {
    if (plans[t].kind == Kind::quantised) {
      const std::size_t per_scale = codes[t].size() / scales[t].size();
      for (std::size_t i = 0; i < codes[t].size(); ++i)
        values[t].push_back(static_cast<float>(codes[t][i]) * half(scales[t][i / per_scale]));
    }
    total += values[t].size();
    XXH3_64bits_update(hash, values[t].data(), values[t].size() * sizeof(float));
  }
  std::printf("values %016llx %zu\n", static_cast<unsigned long long>(XXH3_64bits_digest(hash)), total);
  XXH3_freeState(hash);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FILE.par5\n", argv[0]);
    return 2;
  }
  std::ifstream in(argv[1], std::ios::binary);
  const Bytes file((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  try {
    decode(file);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: refused: %s\n", argv[1], error.what());
    return 1;
  }
  return 0;
}
