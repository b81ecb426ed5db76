// What the second decoder is made of: bytes, facts, layouts, codecs. Written from docs/format.md alone: slow, and with
// no project headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace reference {

using Bytes = std::vector<std::uint8_t>;

[[noreturn]] inline void refuse(const std::string& why) { throw std::runtime_error(why); }
inline void require(bool condition, const char* why) {
  if (!condition) refuse(why);
}

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

// ---- facts.cpp: metadata and tensors --------------------------------------------------------------------------------

struct Facts {
  std::map<int, std::uint64_t> integers = {{1, 10},   {2, 576},   {3, 6},    {4, 3},  {5, 2304}, {6, 16384}, {7, 380},
                                           {8, 1024}, {9, 2},     {10, 192}, {11, 0}, {12, 16},  {15, 0},    {16, 0},
                                           {17, 0},   {18, 0},    {19, 0},   {20, 1}, {21, 1},   {22, 0},    {23, 1},
                                           {26, 1},   {27, 2048}, {28, 0},   {29, 2}, {34, 0}};
  Bytes fp8_exponents;
  std::int64_t operator[](int number) const { return static_cast<std::int64_t>(integers.at(number)); }
};
Facts read_facts(Cursor& in);

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
std::vector<TensorPlan> plan_tensors(const Facts& f);

// ---- codecs.cpp -----------------------------------------------------------------------------------------------------

// What a stream of `codec` (all but 4) decodes to: `size` bytes.
Bytes decode_codec(int codec, const Bytes& stored, std::size_t size);

// ---- values.cpp: layouts, scales, small floats ----------------------------------------------------------------------

float half(std::uint16_t bits);
float e4m3(std::uint8_t bits);
// In `values` the k-th element of the column-by-column order, put back row by row.
template <class T>
std::vector<T> upright(const std::vector<T>& values, std::int64_t rows, std::int64_t columns) {
  std::vector<T> out(values.size());
  std::size_t k = 0;
  for (std::int64_t c = 0; c < columns; ++c)
    for (std::int64_t r = 0; r < rows; ++r) out[static_cast<std::size_t>(r * columns + c)] = values[k++];
  return out;
}
// Symbols 0 … levels - 1, in the layout's own order.
std::vector<int> symbols(const Bytes& bytes, int layout, std::size_t count, int levels);
std::vector<int> sign_planes(const Bytes& bytes, std::size_t count, int largest);
std::vector<std::uint16_t> halves(const Bytes& bytes, int layout, std::size_t count);
std::uint16_t reconstruct(std::uint16_t anchor, std::uint16_t step, int delta);

// ---- tokenizer.cpp --------------------------------------------------------------------------------------------------

// A hash over everything that the stream says: text fields and pieces with their types and score bits.
std::uint64_t tokenizer_hash(const Bytes& bytes, std::uint64_t vocab);

}  // namespace reference
