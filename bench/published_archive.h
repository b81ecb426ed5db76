// The yardstick: the published way to store such a model (pull request 2086 of openai/parameter-golf), without its
// pickle. Every part of a quantised matrix goes through LZMA-9 (an .xz container each) in four layouts, the smallest
// wins, and `lrzip -z -L 9` is tried on the winner where lrzip is installed; fp8 tensors likewise in their one
// layout. Scales are 5-bit deltas, one a byte; they and the fp16 vectors are one LZMA-9 blob each.
#pragma once

#include <lzma.h>

#include <array>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/parallel.h"
#include "pack/packing.h"
#include "pack/scale_codec.h"
#include "pack/stored_model.h"

namespace par5::bench {

// What lzma.compress(raw, preset=9) of Python's library gives.
inline Result<std::uint64_t> xz9_bytes(std::span<const std::uint8_t> raw) {
  std::vector<std::uint8_t> out(lzma_stream_buffer_bound(raw.size()));
  std::size_t size = 0;
  if (lzma_easy_buffer_encode(9, LZMA_CHECK_CRC64, nullptr, raw.data(), raw.size(), out.data(), &size, out.size()) !=
      LZMA_OK)
    return internal_error("liblzma failed on the yardstick");
  return size;
}

// With `test` off (-T) lrzip codes what its LZ4 test would store. Nothing where there is no lrzip.
inline std::uint64_t lrzip_bytes(std::span<const std::uint8_t> raw, bool test) {
  constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();
  const auto folder = TemporaryFolder::create();
  if (!folder) return kNone;
  const std::string in = join_path(folder->path(), "raw"), out = join_path(folder->path(), "raw.lrz");
  if (!write_file(in, std::as_bytes(raw), Overwrite::no)) return kNone;
  const std::string command = "LRZIP=NOCONFIG lrzip -z -L 9 -p 2 -Q " + std::string(test ? "" : "-T ") + "-o '" + out +
                              "' '" + in + "' >/dev/null 2>&1";
  if (std::system(command.c_str()) != 0) return kNone;
  return file_size(out).value_or(kNone);
}
inline bool has_lrzip() { return std::system("command -v lrzip >/dev/null 2>&1") == 0; }

struct PublishedArchive {
  std::uint64_t quantised_bytes = 0;
  std::uint64_t lzma_only_bytes = 0;  // of the quantised parts: without lrzip
  std::uint64_t fp8_bytes = 0;
  std::uint64_t scale_bytes = 0;
  std::uint64_t vector_bytes = 0;
  std::uint64_t lrzip_wins = 0;
  std::uint64_t total() const { return quantised_bytes + fp8_bytes + scale_bytes + vector_bytes; }
};

inline constexpr std::array kQuinaryLayouts = {Layout::base5, Layout::base5_t, Layout::planes, Layout::planes_t};
inline constexpr std::array kTernaryLayouts = {Layout::base3, Layout::base3_t, Layout::planes, Layout::planes_t};

// `model` is quinary or ternary, its scales 5-bit deltas.
inline Result<PublishedArchive> published_archive(const StoredModel& model, std::size_t threads = 0) {
  // One job a part, so that they run in parallel; its layouts one after the other.
  struct Job {
    bool fp8 = false;
    Shape shape;
    std::span<const std::int8_t> codes;
    std::uint64_t lzma = std::numeric_limits<std::uint64_t>::max(), lrzip = lzma;
    Status status{};
  };
  std::vector<Job> jobs;
  std::vector<std::uint8_t> scales, vectors;
  for (const StoredTensor& tensor : model.tensors) {
    if (const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) {
      const std::int64_t columns = tensor.spec.shape[1];
      for (const TensorPart& part : tensor_parts(tensor.spec, model.model))
        jobs.push_back({false,
                        {part.rows, columns},
                        std::span(quantized->codes)
                            .subspan(static_cast<std::size_t>(part.first_row * columns),
                                     static_cast<std::size_t>(part.rows * columns))});
      if (!quantized->deltas) return usage_error("the yardstick needs scales as deltas");
      const ScaleDeltas& deltas = *quantized->deltas;
      for (const int byte : {deltas.anchor & 255, deltas.anchor >> 8, deltas.step & 255, deltas.step >> 8})
        scales.push_back(static_cast<std::uint8_t>(byte));
      for (const std::int8_t delta : deltas.deltas) scales.push_back(static_cast<std::uint8_t>(delta));
    } else if (const auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data)) {
      jobs.push_back(
          {true, tensor.spec.shape, {reinterpret_cast<const std::int8_t*>(fp8->codes.data()), fp8->codes.size()}});
    } else {
      for (const std::uint16_t value : std::get<Fp16Tensor>(tensor.data).codes) {
        vectors.push_back(static_cast<std::uint8_t>(value & 255));
        vectors.push_back(static_cast<std::uint8_t>(value >> 8));
      }
    }
  }
  const Grid grid = model.quantizer.grid;
  const auto& layouts = grid == Grid::ternary ? kTernaryLayouts : kQuinaryLayouts;
  parallel_for(jobs.size(), threads, [&](std::size_t i) {
    Job& job = jobs[i];
    job.status = [&]() -> Status {
      std::vector<std::uint8_t> best;
      if (job.fp8) {
        best.assign(job.codes.begin(), job.codes.end());
        P5_TRY(job.lzma, xz9_bytes(best));
      } else {
        for (const Layout layout : layouts) {
          P5_TRY(auto packed, pack_codes(layout, grid, job.shape, job.codes));
          P5_TRY(const std::uint64_t bytes, xz9_bytes(packed));
          if (bytes >= job.lzma) continue;
          job.lzma = bytes;
          best = std::move(packed);
        }
      }
      job.lrzip = lrzip_bytes(best, true);
      return {};
    }();
  });
  PublishedArchive archive;
  for (const Job& job : jobs) {
    P5_OK(job.status);
    const std::uint64_t bytes = std::min(job.lzma, job.lrzip);
    archive.lrzip_wins += job.lrzip < job.lzma ? 1 : 0;
    (job.fp8 ? archive.fp8_bytes : archive.quantised_bytes) += bytes;
    if (!job.fp8) archive.lzma_only_bytes += job.lzma;
  }
  P5_TRY(archive.scale_bytes, xz9_bytes(scales));
  P5_TRY(archive.vector_bytes, xz9_bytes(vectors));
  return archive;
}

}  // namespace par5::bench
