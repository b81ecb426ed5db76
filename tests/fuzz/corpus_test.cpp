// Runs every fuzz target over its corpus and over seeded mutations of it, and bounds what it may allocate at once.
// PAR5_REFRESH=1 writes the seeds into the corpus; inputs that libFuzzer found stay there.
#include <gtest/gtest.h>

#include <random>

#include "core/file.h"
#include "tests/archive/allocations.h"
#include "tests/fuzz/seeds.h"
#include "tests/fuzz/target.h"

namespace par5::fuzz {
namespace {

constexpr std::size_t kMostAllocated = std::size_t{192} << 20;  // what a head of a few bytes may claim: 2^27 values

std::string corpus_folder(const std::string& target) { return PAR5_SOURCE_DIR "/tests/fuzz/corpus/fuzz_" + target; }

std::vector<Bytes> corpus(const std::string& target) {
  std::vector<Bytes> inputs;
  const auto names = list_folder(corpus_folder(target));
  if (names)
    for (const std::string& name : *names) inputs.push_back(read_file(join_path(corpus_folder(target), name)).value());
  return inputs;
}

// Some bits flipped, some bytes set to telling values, cut, doubled or joined with another input.
Bytes mutated(const std::vector<Bytes>& inputs, std::mt19937& random) {
  Bytes bytes = inputs[random() % inputs.size()];
  for (unsigned changes = 1 + random() % 4; changes > 0 && !bytes.empty(); --changes) {
    const std::size_t at = random() % bytes.size();
    const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    switch (random() % 7) {
      case 0:
      case 1:
        bytes[at] ^= static_cast<std::byte>(1u << random() % 8);
        break;
      case 2:
        bytes[at] = static_cast<std::byte>(random());
        break;
      case 3:
        bytes[at] = random() % 2 ? std::byte{0xff} : std::byte{0};
        break;
      case 4:
        bytes.resize(at);
        break;
      case 5:
        bytes.erase(here,
                    here + static_cast<std::ptrdiff_t>(std::min<std::size_t>(1 + random() % 8, bytes.size() - at)));
        break;
      default:
        const Bytes& other = inputs[random() % inputs.size()];
        if (other.empty()) break;
        const std::size_t from = random() % other.size();
        bytes.insert(here, other.begin() + static_cast<std::ptrdiff_t>(from),
                     other.begin() + static_cast<std::ptrdiff_t>(std::min(other.size(), from + 1 + random() % 16)));
    }
  }
  return bytes;
}

TEST(Corpus, SeedsAreThere) {
  const bool refresh = std::getenv("PAR5_REFRESH") != nullptr;
  for (const Seed& seed : seeds()) {
    const std::string path = join_path(corpus_folder(seed.target), seed.name);
    if (refresh) {
      ASSERT_TRUE(make_folders(corpus_folder(seed.target)));
      ASSERT_TRUE(write_file(path, seed.bytes, Overwrite::yes));
    }
    EXPECT_TRUE(file_exists(path)) << path << " is missing; PAR5_REFRESH=1 writes it";
  }
}

void run_target(const Target& target, unsigned mutations) {
  SCOPED_TRACE(target.name);
  const std::vector<Bytes> inputs = corpus(target.name);
  ASSERT_FALSE(inputs.empty());
  test::reset_largest_allocation();
  for (const Bytes& input : inputs) target.run(input);
  std::mt19937 random(7);
  for (unsigned i = 0; i < mutations; ++i) target.run(mutated(inputs, random));
  EXPECT_LT(test::largest_allocation(), kMostAllocated);
}

TEST(Corpus, EveryTarget) {
  ASSERT_EQ(targets().size(), 8u);
  for (const Target& target : targets()) run_target(target, 200);
}

TEST(Corpus, ManyMutationsLong) {
  for (const Target& target : targets()) run_target(target, 20000);
}

}  // namespace
}  // namespace par5::fuzz
