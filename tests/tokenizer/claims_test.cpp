// Every known way to charge wrongly is planted and must be found and named; right charges in any form must raise
// nothing.
#include "tokenizer/claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <set>

#include "tests/tokenizer/support.h"
#include "tokenizer/normalizer_map.h"
#include "tokenizer/sharding.h"
#include "tokenizer/shards/shards.h"

namespace par5 {
namespace {

using test::must;
using testing::HasSubstr;
using Ids = std::set<std::string>;

const std::vector<std::string> kDocuments = {
    "The cat and the hat sat on the mat, one two three; caf\xc3\xa9 \xf0\x9f\x98\x80 done",
    "Then  the cat\nslept on the hat. \xe2\x82\xac 5", "One more: the mat (I II III) and the end of it all"};

const Tokenizer& trained() {
  static const Tokenizer tokenizer = must(Tokenizer::from_data(
      must(parse_model(
               test::train("The cat and the hat sat on the mat, one two three; (I II III) of it all, then more\n", 300),
               "a"))
          .tokenizer));
  return tokenizer;
}

class Claims : public testing::Test {
 protected:
  Claims() {
    for (const std::string& document : kDocuments) {
      const DocumentAccount account = must(account_document(trained(), document));
      EXPECT_EQ(account.fault, "");
      for (const std::uint16_t token : account.tokens) {
        if (!tokens_.empty()) charges_.push_back(trained().bytes().charge(tokens_.back(), token));
        tokens_.push_back(token);
      }
      source_bytes_ += document.size();
      starts_.push_back(tokens_.size() - account.tokens.size());
    }
    for (const std::uint32_t charge : charges_) bytes_ += charge;
  }

  std::vector<ClaimFault> faults(const TextClaim& claim, const Tokenizer& tokenizer = trained(),
                                 const std::vector<std::string>& documents = kDocuments) const {
    ClaimCheck check(tokenizer, claim);
    for (const std::string& document : documents) must(check.add(must(account_document(tokenizer, document))));
    return check.finish();
  }
  Ids ids(const TextClaim& claim) const {
    Ids found;
    for (const ClaimFault& fault : faults(claim)) found.insert(fault.id);
    return found;
  }
  std::int64_t too_many(const TextClaim& claim) const {
    const auto found = faults(claim);
    return found.size() == 1 ? found[0].bytes : -999999;
  }

  // The rows of a table: id, piece, bytes and, where asked, leading_space; `charge` says what a piece costs.
  template <class Charge>
  std::string table(bool columns, const Charge& charge) const {
    std::string text = columns ? "id\tpiece\tbytes\tleading_space\n" : "";
    const auto& pieces = trained().data().pieces;
    for (std::size_t id = 0; id < pieces.size(); ++id) {
      const bool space = trained().bytes().leading_space[id];
      text += std::to_string(id) + "\t" + pieces[id].piece + "\t" + std::to_string(charge(id) + (columns ? 0 : space)) +
              (columns ? std::string("\t") + (space ? "1" : "0") : "") + "\n";
    }
    return text;
  }
  std::uint32_t right(std::size_t id) const { return trained().bytes().bytes[id]; }
  TextClaim read(const std::string& name, const std::string& text) const {
    TextClaim claim;
    must(read_charges(scratch_.write(name, text), trained(), claim));
    return claim;
  }
  static std::string shard(const std::vector<std::uint16_t>& numbers) {
    std::string bytes(kShardHeaderBytes, '\0');
    const std::int32_t header[3] = {kShardMagic, kShardVersion, static_cast<std::int32_t>(numbers.size())};
    std::memcpy(bytes.data(), header, sizeof header);
    bytes.append(reinterpret_cast<const char*>(numbers.data()), 2 * numbers.size());
    return bytes;
  }
  TextClaim scored(const std::vector<std::uint16_t>& tokens) const {
    TextClaim claim;
    claim.tokens = must(read_token_shards(scratch_.write("t.bin", shard(tokens))));
    return claim;
  }
  std::uint64_t total(const auto& holds) const {
    std::uint64_t sum = 0;
    for (std::size_t t = 1; t < tokens_.size(); ++t) sum += holds(tokens_[t - 1], tokens_[t]);
    return sum;
  }
  std::uint64_t spaces() const {
    return total([](auto before, auto token) {
      return trained().bytes().leading_space[token] && !trained().bytes().boundary[before];
    });
  }
  std::uint64_t byte_pieces() const {
    return total([](auto, auto token) { return trained().data().pieces[token].type == 6; });
  }

  test::Scratch scratch_;
  std::vector<std::uint16_t> tokens_;
  std::vector<std::uint32_t> charges_;  // of tokens 1 …
  std::vector<std::size_t> starts_;
  std::uint64_t bytes_ = 0, source_bytes_ = 0;
};

TEST_F(Claims, RightChargesInAnyFormRaiseNothing) {
  EXPECT_EQ(ids({}), Ids{});
  const auto plain = [&](std::size_t id) { return right(id); };
  EXPECT_EQ(ids(read("t.tsv", table(true, plain))), Ids{});
  EXPECT_EQ(ids(read("t.tsv", table(false, plain))), Ids{});
  EXPECT_EQ(ids(read("lut.bin", shard({trained().bytes().bytes.begin(), trained().bytes().bytes.end()}))), Ids{});
  std::vector<std::uint16_t> beside = {0};
  beside.insert(beside.end(), charges_.begin(), charges_.end());
  EXPECT_EQ(ids(read("val_bytes.bin", shard(beside))), Ids{});
  EXPECT_EQ(ids(scored(tokens_)), Ids{});
  TextClaim sums;
  sums.targets = tokens_.size() - 1;
  sums.bytes = bytes_;
  sums.documents = kDocuments.size();
  EXPECT_EQ(ids(sums), Ids{});
  sums.targets = tokens_.size();  // the first BOS counted too
  EXPECT_EQ(ids(sums), Ids{});
}

TEST_F(Claims, TablesThatChargeWronglyAreNamed) {
  ASSERT_GT(spaces(), 5u);
  ASSERT_GT(byte_pieces(), 3u);
  const auto& pieces = trained().data().pieces;
  const auto space = [&](std::size_t id) { return trained().bytes().leading_space[id] != 0; };
  const auto byte = [&](std::size_t id) { return pieces[id].type == 6; };
  struct Case {
    const char* id;
    std::function<std::uint32_t(std::size_t)> charge;
    std::int64_t bytes;
  };
  for (const Case& c :
       {Case{"leading_space_twice", [&](std::size_t id) { return right(id) + space(id); },
             static_cast<std::int64_t>(spaces())},
        Case{"byte_fallback_as_3", [&](std::size_t id) { return byte(id) ? 3 : right(id); },
             static_cast<std::int64_t>(2 * byte_pieces())},
        Case{"byte_fallback_as_6", [&](std::size_t id) { return byte(id) ? 6 : right(id); },
             static_cast<std::int64_t>(5 * byte_pieces())},
        Case{"byte_fallback_not_charged", [&](std::size_t id) { return byte(id) ? 0 : right(id); },
             -static_cast<std::int64_t>(byte_pieces())},
        Case{"leading_space_as_mark", [&](std::size_t id) { return right(id) + (space(id) ? 2 : 0); },
             static_cast<std::int64_t>(2 * spaces())},
        Case{"control_charged",
             [&](std::size_t id) {
               return pieces[id].type == 3 ? static_cast<std::uint32_t>(pieces[id].piece.size()) : right(id);
             },
             2 * 3},
        Case{"other_bytes", [&](std::size_t id) { return id == tokens_[1] ? right(id) + 7 : right(id); },
             7 * std::count(tokens_.begin(), tokens_.end(), tokens_[1])}}) {
    for (const bool columns : {true, false}) {
      const auto found = faults(read("t.tsv", table(columns, c.charge)));
      ASSERT_EQ(found.size(), 1u) << c.id << columns;
      EXPECT_EQ(found[0].id, c.id);
      EXPECT_EQ(found[0].bytes, c.bytes) << c.id << columns;
    }
    // The same as bytes beside the tokens, and as a sum.
    std::vector<std::uint16_t> beside = {0};
    std::uint64_t sum = 0;
    for (std::size_t t = 1; t < tokens_.size(); ++t) {
      const bool charged_space = space(tokens_[t]) && !trained().bytes().boundary[tokens_[t - 1]];
      beside.push_back(static_cast<std::uint16_t>(c.charge(tokens_[t]) + charged_space));
      sum += beside.back();
    }
    EXPECT_EQ(ids(read("b.bin", shard(beside))), Ids{c.id});
    if (std::string(c.id) == "other_bytes") continue;
    TextClaim claim;
    claim.bytes = sum;
    claim.targets = tokens_.size() - 1;
    EXPECT_EQ(ids(claim), Ids{c.id});
    EXPECT_EQ(too_many(claim), c.bytes);
  }
}

TEST_F(Claims, SumsThatSeveralFaultsMakeAreTakenApart) {
  TextClaim claim;
  claim.bytes = bytes_ + spaces() + 2 * byte_pieces();
  EXPECT_EQ(ids(claim), (Ids{"leading_space_twice", "byte_fallback_as_3"}));
  claim.bytes = source_bytes_;
  claim.targets = tokens_.size() - 1;
  EXPECT_EQ(ids(claim), Ids{"source_bytes"});
  claim.bytes = bytes_ * 3 + 1;
  EXPECT_EQ(ids(claim), Ids{"other_bytes"});
}

TEST_F(Claims, TailsAndDocumentsAreNamed) {
  TextClaim claim;
  claim.targets = (tokens_.size() - 1) / 64 * 64;
  ASSERT_LT(*claim.targets, tokens_.size() - 1);
  std::uint64_t slice = 0;
  for (std::size_t t = 0; t < *claim.targets; ++t) slice += charges_[t];
  claim.bytes = slice;  // right for its slice
  auto found = faults(claim);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].id, "tail_dropped");
  EXPECT_THAT(found[0].evidence, HasSubstr("multiple of 64"));
  claim.targets = std::nullopt;  // from the bytes alone
  EXPECT_EQ(ids(claim), Ids{"tail_dropped"});
  claim.bytes = bytes_ + charges_.back() + charges_[charges_.size() - 2];
  EXPECT_EQ(ids(claim), Ids{"tail_duplicated"});
  claim = {};
  claim.targets = tokens_.size() + 40;
  EXPECT_EQ(ids(claim), Ids{"tail_duplicated"});
  claim = {};
  claim.documents = 2;
  claim.bytes = 0;
  for (std::size_t t = 1; t < starts_[2]; ++t) *claim.bytes += charges_[t - 1];
  EXPECT_EQ(ids(claim), Ids{"documents"});
}

TEST_F(Claims, TokensThatWereScoredAreHeldAgainstTheText) {
  std::vector<std::uint16_t> cut(tokens_.begin(), tokens_.end() - 7);
  auto found = faults(scored(cut));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].id, "tail_dropped");
  EXPECT_THAT(found[0].evidence, HasSubstr("7 tokens"));
  std::vector<std::uint16_t> repeated = tokens_;
  repeated.insert(repeated.end(), tokens_.end() - 7, tokens_.end());
  EXPECT_EQ(ids(scored(repeated)), Ids{"tail_duplicated"});
  std::vector<std::uint16_t> document(tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(starts_[2]));
  EXPECT_EQ(ids(scored(document)), (Ids{"documents", "tail_dropped"}));
  document = tokens_;
  document.insert(document.end(), tokens_.begin() + static_cast<std::ptrdiff_t>(starts_[2]), tokens_.end());
  EXPECT_EQ(ids(scored(document)), (Ids{"documents", "tail_duplicated"}));
  // Another order and other cuts are no fault of the charge.
  std::vector<std::uint16_t> moved(tokens_.begin() + static_cast<std::ptrdiff_t>(starts_[1]), tokens_.end());
  moved.insert(moved.end(), tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(starts_[1]));
  EXPECT_EQ(ids(scored(moved)), Ids{});
  // Lower case, and another text.
  std::vector<std::uint16_t> folded;
  for (const std::string& text : kDocuments) {
    std::string small = text;
    for (char& c : small)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const auto tokens = must(account_document(trained(), small)).tokens;
    folded.insert(folded.end(), tokens.begin(), tokens.end());
  }
  EXPECT_EQ(ids(scored(folded)), Ids{"case_folded"});
  std::vector<std::uint16_t> other = tokens_;
  other[3] = other[3] == 300 ? 299 : static_cast<std::uint16_t>(other[3] ^ 1);
  EXPECT_EQ(ids(scored(other)), Ids{"text_differs"});
}

TEST_F(Claims, TokenizersThatCannotBeRightAreNamed) {
  const auto only = [](const std::vector<ClaimFault>& found) { return found.size() == 1 ? found[0].id : "?"; };
  const Tokenizer no_space = must(Tokenizer::from_data(test::small_tokenizer({"a", "b"})));
  const auto missing = faults({}, no_space, {"a b", "ab", "b a b"});
  EXPECT_EQ(only(missing), "no_space_piece");
  EXPECT_EQ(missing[0].bytes, 6);
  TokenizerData data = test::small_tokenizer({"a", "\xe2\x96\x81"});
  data.byte_fallback = false;
  data.pieces.erase(data.pieces.begin() + 4, data.pieces.begin() + 260);
  EXPECT_EQ(only(faults({}, must(Tokenizer::from_data(data)), {"a zz a"})), "unknown_pieces");
  // Sentinels: U+E001 stands for "the next letter is a capital".
  const Tokenizer sentinels = must(Tokenizer::from_data(
      test::small_tokenizer({"a", "b", "\xe2\x96\x81", "\xee\x80\x81", "\xe2\x96\x81\xee\x80\x81"})));
  const std::vector<std::string> marked = {
      "\xee\x80\x81"
      "ab \xee\x80\x81"
      "ba"};
  const auto charged = faults({}, sentinels, marked);
  EXPECT_EQ(only(charged), "sentinels_charged");
  EXPECT_EQ(charged[0].bytes, 6);
  TextClaim honest;
  honest.bytes = 5;
  EXPECT_TRUE(faults(honest, sentinels, marked).empty());
  honest.bytes = 11;
  EXPECT_EQ(only(faults(honest, sentinels, marked)), "sentinels_charged");
  // A private-use character that stands in a text is text.
  EXPECT_TRUE(faults({}, trained(), {"the \xef\xa3\xbf cat"}).empty());
  data = trained().data();
  data.normalizer = "nmt_nfkc_cf";
  data.normalizer_sha256 = must(builtin_map("nmt_nfkc_cf"))->sha256;
  const auto folding = Tokenizer::from_data(data);
  ASSERT_TRUE(folding) << to_string(folding.error());
  EXPECT_EQ(only(faults({}, *folding, kDocuments)), "case_folded");
}

TEST_F(Claims, DamagedFilesAreRefused) {
  TextClaim claim;
  const auto refused = [&](const std::string& name, const std::string& text) {
    const auto status = read_charges(scratch_.write(name, text), trained(), claim);
    return status ? std::string() : status.error().message;
  };
  const std::string whole = table(true, [&](std::size_t id) { return right(id); });
  EXPECT_THAT(refused("t.tsv", whole.substr(0, whole.size() / 2)),
              testing::AnyOf(HasSubstr("no row for"), HasSubstr("columns"), HasSubstr("whole number")));
  EXPECT_THAT(refused("t.tsv", whole + "5\tx\t1\t0\n"), HasSubstr("second time"));
  EXPECT_THAT(refused("t.tsv", "id\tbytes\n99999\t1\n"), HasSubstr("none of the tokenizer's"));
  EXPECT_THAT(refused("t.tsv", "piece\tbytes\nxyzzy\t1\n"), HasSubstr("does not have"));
  EXPECT_THAT(refused("t.tsv", "id\tbytes\n1\tmany\n"), HasSubstr("whole number"));
  EXPECT_THAT(refused("t.tsv", "words\n"), HasSubstr("no columns"));
  EXPECT_THAT(refused("t.bin", "short"), HasSubstr("1024 bytes"));
  EXPECT_THAT(refused("t.bin", shard({1, 2}) + "x"), HasSubstr("header counts"));
  std::string foreign = shard({1, 2});
  foreign[0] = 'x';
  EXPECT_THAT(refused("t.bin", foreign), HasSubstr("20240520"));
  EXPECT_FALSE(read_token_shards(scratch_.path("none.bin")));
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    std::string text = i % 2 ? whole : shard(tokens_);
    for (auto edits = 1 + random() % 5; edits > 0; --edits) text[random() % text.size()] = static_cast<char>(random());
    if (i % 3 == 0) text.resize(random() % text.size());
    const std::string path = scratch_.write(i % 2 ? "n.tsv" : "n.bin", text);
    claim = {};
    if (read_charges(path, trained(), claim)) (void)faults(claim);
    claim = {};
    auto tokens = read_token_shards(path);
    if (!tokens || std::any_of(tokens->begin(), tokens->end(), [](auto token) { return token >= trained().vocab(); }))
      continue;
    claim.tokens = std::move(*tokens);
    (void)faults(claim);
  }
}

// Real tokenizers on real text: no false alarm.
TEST(ClaimsOnRealText, CleanTokenizersRaiseNothing) {
  const std::string shared = test::shared_folder();
  if (shared.empty()) GTEST_SKIP() << test::kNoShared;
  for (const char* name : {"enwiki_4096", "fineweb_8192_bpe", "fineweb_16384_bpe"}) {
    const Tokenizer tokenizer = must(Tokenizer::load(shared + "/data/tokenizers/" + name + ".model"));
    for (const char* text : {"enwiki-long/val.jsonl.xz", "openstax/val.jsonl.xz"}) {
      const std::string path = shared + "/data/corpora/" + text;
      if (!file_exists(path)) continue;
      TextSource source = must(TextSource::open({path}));
      ClaimCheck check(tokenizer, {});
      TextDocument document;
      for (int d = 0; d < 4 && must(source.next(document)); ++d)
        must(check.add(must(account_document(tokenizer, document.text))));
      const auto found = check.finish();
      EXPECT_TRUE(found.empty()) << name << " on " << text << ": " << found[0].id << ", " << found[0].evidence;
      EXPECT_GT(check.scored().bytes, 5000u);
    }
  }
}

}  // namespace
}  // namespace par5
