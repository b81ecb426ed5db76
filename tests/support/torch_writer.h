// Files as PyTorch's torch.save writes them, made without PyTorch: for tests of the readers.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace par5::test {

inline std::string little_endian(std::uint64_t value, int width) {
  std::string bytes;
  for (int i = 0; i < width; ++i) bytes += static_cast<char>(value >> (8 * i) & 255);
  return bytes;
}

// Opcodes of a pickle of protocol 2, one method a value.
class PickleWriter {
 public:
  PickleWriter& raw(std::string_view opcodes) {
    out_ += opcodes;
    return *this;
  }
  PickleWriter& string(std::string_view text) { return raw("X").raw(little_endian(text.size(), 4)).raw(text); }
  PickleWriter& bytes(std::string_view text) { return raw("B").raw(little_endian(text.size(), 4)).raw(text); }
  PickleWriter& integer(std::int64_t value) {
    if (value >= INT32_MIN && value <= INT32_MAX)
      return raw("J").raw(little_endian(static_cast<std::uint64_t>(value), 4));
    return raw("\x8a\x08").raw(little_endian(static_cast<std::uint64_t>(value), 8));
  }
  PickleWriter& global(std::string_view module, std::string_view name) {
    return raw("c").raw(module).raw("\n").raw(name).raw("\n");
  }
  PickleWriter& integers(const std::vector<std::int64_t>& values) {
    raw("(");
    for (const std::int64_t value : values) integer(value);
    return raw("t");
  }
  // torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, False, OrderedDict())
  PickleWriter& tensor(std::string_view storage_type, const std::string& key, std::int64_t elements,
                       std::int64_t offset, const std::vector<std::int64_t>& shape,
                       const std::vector<std::int64_t>& strides) {
    global("torch._utils", "_rebuild_tensor_v2")
        .raw("((")
        .string("storage")
        .global("torch", storage_type)
        .string(key)
        .string("cpu");
    integer(elements).raw("tQ").integer(offset).integers(shape).integers(strides).raw("\x89");
    return global("collections", "OrderedDict").raw(")RtR");
  }
  std::string finish() const { return std::string("\x80\x02") + out_ + "."; }

 private:
  std::string out_;
};

struct ZipMember {
  std::string name, content;
  bool deflate = false;
};

// A zip file with a directory; content that is deflated is compressed here.
inline std::string zip_file(const std::vector<ZipMember>& members) {
  std::string file, directory;
  for (const ZipMember& member : members) {
    std::string stored = member.content;
    if (member.deflate) {
      z_stream stream{};
      deflateInit2(&stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
      stored.resize(deflateBound(&stream, static_cast<uLong>(member.content.size())));
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(member.content.data()));
      stream.avail_in = static_cast<uInt>(member.content.size());
      stream.next_out = reinterpret_cast<Bytef*>(stored.data());
      stream.avail_out = static_cast<uInt>(stored.size());
      deflate(&stream, Z_FINISH);
      stored.resize(stream.total_out);
      deflateEnd(&stream);
    }
    const std::string common = little_endian(0, 2) + little_endian(member.deflate ? 8 : 0, 2) + little_endian(0, 4) +
                               little_endian(crc32(0, reinterpret_cast<const Bytef*>(member.content.data()),
                                                   static_cast<uInt>(member.content.size())),
                                             4) +
                               little_endian(stored.size(), 4) + little_endian(member.content.size(), 4) +
                               little_endian(member.name.size(), 2) + little_endian(0, 2);
    directory += "PK\x01\x02" + little_endian(20, 2) + little_endian(20, 2) + common + little_endian(0, 2) +
                 little_endian(0, 2) + little_endian(0, 2) + little_endian(0, 4) + little_endian(file.size(), 4) +
                 member.name;
    file += "PK\x03\x04" + little_endian(20, 2) + common + member.name + stored;
  }
  const std::size_t start = file.size();
  file += directory + "PK\x05\x06" + little_endian(0, 4) + little_endian(members.size(), 2) +
          little_endian(members.size(), 2) + little_endian(directory.size(), 4) + little_endian(start, 4) +
          little_endian(0, 2);
  return file;
}

// torch.save of a pickle and its storages ("0", "1", …).
inline std::string torch_file(const std::string& pickle,
                              const std::vector<std::pair<std::string, std::string>>& storages) {
  std::vector<ZipMember> members = {{"archive/data.pkl", pickle}, {"archive/byteorder", "little"}};
  for (const auto& [key, content] : storages) members.push_back({"archive/data/" + key, content});
  members.push_back({"archive/version", "3\n"});
  return zip_file(members);
}

}  // namespace par5::test
