#include "tokenizer/byte_stream.h"

#include <fcntl.h>
#include <lzma.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

namespace par5 {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 17;
constexpr std::uint64_t kMaxDecoderMemory = std::uint64_t{1} << 30;

class RawStream : public ByteStream {
 public:
  RawStream(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  ~RawStream() override {
    if (descriptor_ > STDERR_FILENO) ::close(descriptor_);
  }

  Result<std::size_t> read(std::span<char> out) override {
    if (held_ > 0) {
      const std::size_t count = std::min(held_, out.size());
      std::copy_n(head_, count, out.begin());
      std::copy(head_ + count, head_ + held_, head_);
      held_ -= count;
      consumed_ += count;
      return count;
    }
    P5_TRY(const std::size_t count, read_descriptor(out));
    consumed_ += count;
    return count;
  }
  std::uint64_t consumed() const override { return consumed_; }

  // The first bytes of the file, without consuming them.
  Result<std::string_view> peek() {
    while (held_ < sizeof head_) {
      P5_TRY(const std::size_t count, read_descriptor(std::span(head_ + held_, sizeof head_ - held_)));
      if (count == 0) break;
      held_ += count;
    }
    return std::string_view(head_, held_);
  }
  const std::string& path() const { return path_; }

 private:
  Result<std::size_t> read_descriptor(std::span<char> out) {
    for (;;) {
      const ssize_t count = ::read(descriptor_, out.data(), out.size());
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno != EINTR) return io_failure("cannot read '" + path_ + "'", path_, errno);
    }
  }

  int descriptor_;
  std::string path_;
  std::uint64_t consumed_ = 0;
  char head_[6] = {};
  std::size_t held_ = 0;
};

// What the two decompressors share: a buffer of compressed bytes that is refilled when empty.
class CompressedStream : public ByteStream {
 public:
  explicit CompressedStream(std::unique_ptr<RawStream> raw) : raw_(std::move(raw)), buffer_(kBufferBytes) {}
  std::uint64_t consumed() const override { return raw_->consumed(); }

 protected:
  // False at the end of the file.
  Result<bool> refill() {
    P5_TRY(const std::size_t count, raw_->read(buffer_));
    input_ = std::string_view(buffer_.data(), count);
    return count > 0;
  }
  std::uint64_t position() const { return raw_->consumed() - input_.size(); }
  tl::unexpected<Error> truncated(const char* kind) const {
    return bad_data(std::string("the ") + kind + " data ends before its end mark: the file is truncated", raw_->path(),
                    raw_->consumed());
  }
  tl::unexpected<Error> damaged(const std::string& what) const { return bad_data(what, raw_->path(), position()); }

  std::unique_ptr<RawStream> raw_;
  std::vector<char> buffer_;
  std::string_view input_;  // what of the buffer is still to be decoded
};

class XzStream : public CompressedStream {
 public:
  using CompressedStream::CompressedStream;
  ~XzStream() override { ::lzma_end(&state_); }

  Status start() {
    if (::lzma_stream_decoder(&state_, kMaxDecoderMemory, LZMA_CONCATENATED) != LZMA_OK)
      return resource_limit("no memory for an xz decoder");
    return {};
  }

  Result<std::size_t> read(std::span<char> out) override {
    state_.next_out = reinterpret_cast<std::uint8_t*>(out.data());
    state_.avail_out = out.size();
    while (!done_ && state_.avail_out == out.size()) {
      if (input_.empty() && !at_end_) {
        P5_TRY(const bool more, refill());
        at_end_ = !more;
      }
      state_.next_in = reinterpret_cast<const std::uint8_t*>(input_.data());
      state_.avail_in = input_.size();
      const lzma_ret result = ::lzma_code(&state_, at_end_ ? LZMA_FINISH : LZMA_RUN);
      input_ = input_.substr(input_.size() - state_.avail_in);
      if (result == LZMA_STREAM_END)
        done_ = true;
      else if (result == LZMA_BUF_ERROR)
        return truncated("xz");
      else if (result == LZMA_MEMLIMIT_ERROR)
        return resource_limit("'" + raw_->path() + "' needs more than 1 GiB of memory to decompress");
      else if (result != LZMA_OK)
        return damaged("the xz data is damaged");
    }
    return out.size() - state_.avail_out;
  }

 private:
  lzma_stream state_ = LZMA_STREAM_INIT;
  bool at_end_ = false;
  bool done_ = false;
};

class ZstdStream : public CompressedStream {
 public:
  using CompressedStream::CompressedStream;
  ~ZstdStream() override { ::ZSTD_freeDStream(state_); }

  Result<std::size_t> read(std::span<char> out) override {
    if (!state_) return resource_limit("no memory for a zstd decoder");
    ZSTD_outBuffer output{out.data(), out.size(), 0};
    while (output.pos == 0) {
      // A full output may leave decoded bytes inside the decoder, so it is asked before more input is read.
      ZSTD_inBuffer input{input_.data(), input_.size(), 0};
      const std::size_t before = output.pos;
      const std::size_t result = ::ZSTD_decompressStream(state_, &output, &input);
      if (::ZSTD_isError(result))
        return damaged(std::string("the zstd data is damaged: ") + ::ZSTD_getErrorName(result));
      const bool progress = input.pos > 0 || output.pos > before;
      if (progress) frame_open_ = result != 0;
      input_.remove_prefix(input.pos);
      if (progress || !input_.empty()) continue;
      P5_TRY(const bool more, refill());
      if (more) continue;
      if (frame_open_) return truncated("zstd");
      return std::size_t{0};
    }
    return output.pos;
  }

 private:
  ZSTD_DStream* state_ = ::ZSTD_createDStream();
  bool frame_open_ = true;
};

}  // namespace

Result<std::unique_ptr<ByteStream>> open_byte_stream(const std::string& path) {
  const bool standard_input = path == "-";
  const int descriptor = standard_input ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return io_failure("cannot open '" + path + "'", path, errno);
  auto raw = std::make_unique<RawStream>(descriptor, standard_input ? "standard input" : path);
  P5_TRY(const std::string_view head, raw->peek());
  if (head == std::string_view("\xfd"
                               "7zXZ\0",
                               6)) {
    auto stream = std::make_unique<XzStream>(std::move(raw));
    P5_OK(stream->start());
    return stream;
  }
  if (head.substr(0, 4) == "\x28\xb5\x2f\xfd") return std::make_unique<ZstdStream>(std::move(raw));
  return raw;
}

}  // namespace par5
