#include "budgets/foreign/pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <random>

#include "budgets/foreign/decode.h"
#include "core/file.h"
#include "tests/budgets/foreign/python_pickles.h"
#include "tests/support/torch_writer.h"

namespace par5 {
namespace {

using test::PickleWriter;

std::string hex_bytes(std::string_view hex) { return *decode_hex(hex); }

TEST(Pickle, EveryProtocolOfPythonReadsTheSame) {
  for (int protocol = 0; protocol < 6; ++protocol) {
    SCOPED_TRACE("protocol " + std::to_string(protocol));
    const std::string bytes = hex_bytes(test::kPickles[protocol]);
    const auto document = read_pickle(as_bytes(bytes), "test.pkl");
    ASSERT_TRUE(document) << to_string(document.error());
    EXPECT_EQ(document->end, bytes.size());
    const PickleNode& root = document->at(document->root);
    const PickleNode* list = document->find(root, "a");
    ASSERT_TRUE(list && list->items.size() == 6);
    EXPECT_EQ(document->at(list->items[0]).integer, 1);
    EXPECT_EQ(document->at(list->items[1]).integer, -2);
    EXPECT_EQ(document->at(list->items[2]).real, 3.5);
    EXPECT_EQ(document->at(list->items[3]).kind, PickleKind::none);
    EXPECT_EQ(document->at(list->items[4]).kind, PickleKind::boolean);
    EXPECT_EQ(document->at(list->items[4]).integer, 1);
    EXPECT_EQ(document->find(root, "again"), list) << "the memo gives the same object";
    EXPECT_EQ(document->find(root, "neg")->integer, -(std::int64_t{1} << 40));
    EXPECT_EQ(document->find(root, "big")->kind, PickleKind::big_integer);
    const PickleNode* pair = document->find(root, "b");
    ASSERT_TRUE(pair && pair->items.size() == 2);
    // Protocols 0 and 2 spell bytes as a call of _codecs.encode; it is a node like any other.
    EXPECT_EQ(document->at(pair->items[0]).kind, protocol < 3 ? PickleKind::call : PickleKind::bytes);
    if (protocol > 0) {
      EXPECT_EQ(document->at(pair->items[1]).text, "täst");
    }
    const PickleNode* ordered = document->find(root, "d");
    ASSERT_TRUE(ordered);
    EXPECT_EQ(ordered->kind, PickleKind::call);
    EXPECT_TRUE(dangerous_globals(*document).empty()) << dangerous_globals(*document)[0];
  }
}

TEST(Pickle, HostileOnesAreListedAndNotRun) {
  const auto folder = TemporaryFolder::create();
  ASSERT_TRUE(folder);
  char before[4096];
  ASSERT_TRUE(getcwd(before, sizeof before));
  ASSERT_EQ(chdir(folder->path().c_str()), 0);
  for (int protocol = 0; protocol < 6; ++protocol) {
    const std::string bytes = hex_bytes(test::kHostilePickles[protocol]);
    const auto document = read_pickle(as_bytes(bytes), "hostile.pkl");
    ASSERT_TRUE(document) << to_string(document.error());
    EXPECT_THAT(dangerous_globals(*document), testing::ElementsAre("posix.system"));
    EXPECT_THAT(describe(*document, document->root), testing::HasSubstr("call posix.system('touch pwned')"));
  }
  EXPECT_TRUE(list_folder(".")->empty()) << "something was run";
  ASSERT_EQ(chdir(before), 0);
}

TEST(Pickle, DamageIsAnErrorWithAnOffset) {
  std::mt19937 generator(7);
  for (const std::string_view hex : test::kPickles) {
    const std::string good = hex_bytes(hex);
    for (std::size_t size = 0; size < good.size(); ++size) {
      const auto cut = read_pickle(as_bytes(std::string_view(good).substr(0, size)), "cut.pkl");
      ASSERT_FALSE(cut) << size;
      EXPECT_EQ(cut.error().code, ErrorCode::bad_data);
      EXPECT_TRUE(cut.error().offset);
    }
    for (int i = 0; i < 2000; ++i) {
      std::string changed = good;
      for (auto edits = 1 + generator() % 3; edits > 0; --edits)
        changed[generator() % changed.size()] = static_cast<char>(generator());
      const auto read = read_pickle(as_bytes(changed), "changed.pkl");
      if (read) (void)describe(*read, read->root, 6);
    }
  }
  for (const char* text : {".", "0.", "e.", "R.", "\x93.", "u.", "h\x05.", "\x80\x09N.", "\xff.", "I12x\n.",
                           "(K\x01"
                           "d.",
                           "X\xff\xff\xff\xff.", "o.", "(o."})
    EXPECT_FALSE(read_pickle(as_bytes(std::string_view(text)), "bad.pkl")) << text;
}

TEST(Pickle, DeepAndGrowingOnesStayBounded) {
  std::string deep = "]";
  for (int i = 0; i < 1'000'000; ++i) deep += '\x85';  // a tuple in a tuple in …
  const auto document = read_pickle(as_bytes(deep + "."), "deep.pkl");
  ASSERT_TRUE(document);
  EXPECT_LT(describe(*document, document->root).size(), 100u);
  const auto refused = read_pickle(as_bytes(deep + "."), "deep.pkl", {1000});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::resource_limit);
  // A list that holds itself.
  const auto cycle = read_pickle(as_bytes(std::string_view("]q\0h\0a.", 7)), "cycle.pkl");
  ASSERT_TRUE(cycle) << to_string(cycle.error());
  EXPECT_EQ(describe(*cycle, cycle->root, 2), "[[[…]]]");
}

}  // namespace
}  // namespace par5
