#include "eval/breakdown.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <sstream>

#include "core/text.h"
#include "fake_model.h"
#include "random_data.h"
#include "settings.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kVocab = 12;

EvalSettings learning_settings() {
  EvalSettings options = settings(16, 5);
  options.ttt.chunk_tokens = 32;
  return options;
}

ScoreRow score(const EvalData& data, const Mode& mode) {
  FakeModel model(kVocab);
  return run_mode(data, mode, learning_settings(), model, &model).value();
}

std::vector<BreakdownRow> rows_of(const ScoreRow& row, const EvalData& data, BreakdownKind kind) {
  std::vector<BreakdownRow> rows;
  EXPECT_TRUE(break_down(row, data, kind, [&](const BreakdownRow& one) {
    rows.push_back(one);
    return Status();
  }));
  return rows;
}

double total_bits(const ScoreRow& row) {
  std::uint64_t units = 0;
  for (const std::uint32_t one : row.target_units) units += one;
  return ledger_bits(units);
}

constexpr BreakdownKind kKinds[] = {BreakdownKind::document, BreakdownKind::position, BreakdownKind::token};

TEST(Breakdown, EveryModeAddsUpToTheLastBit) {
  const EvalData data = random_data(230, 3);
  for (const Mode& mode : ladder_modes(true, true)) {
    const ScoreRow row = score(data, mode);
    for (const BreakdownKind kind : kKinds) {
      std::vector<BreakdownRow> rows = rows_of(row, data, kind);
      std::shuffle(rows.begin(), rows.end(), std::mt19937(1));
      std::int64_t targets = 0, bytes = 0;
      double bits = 0;
      for (const BreakdownRow& one : rows) {
        targets += one.targets;
        bytes += one.bytes;
        bits += one.bits();
      }
      EXPECT_EQ(targets, row.targets) << mode_name(mode);
      EXPECT_EQ(bytes, row.bytes);
      // Not nearly: exactly, in whatever order.
      EXPECT_EQ(bits / static_cast<double>(bytes), total_bits(row) / static_cast<double>(row.bytes)) << mode_name(mode);
      EXPECT_EQ(fixed(bits / static_cast<double>(bytes), 12), fixed(row.bpb(), 12));
    }
    EXPECT_EQ(static_cast<std::int64_t>(rows_of(row, data, BreakdownKind::document).size()), row.documents);
  }
}

TEST(Breakdown, RowsAreWhatTheySay) {
  const EvalData data = random_data(120, 4);
  const ScoreRow row = score(data, {ModeKind::sliding});
  const std::vector<BreakdownRow> tokens = rows_of(row, data, BreakdownKind::token);
  ASSERT_EQ(tokens.size(), 120u);
  std::map<std::int64_t, std::uint64_t> by_position, by_document;
  std::int64_t document = 0;
  for (std::int64_t t = 1; t <= 120; ++t) {
    const BreakdownRow& one = tokens[static_cast<std::size_t>(t - 1)];
    if (t > 1 && data.tokens[static_cast<std::size_t>(t - 1)] == data.bos) ++document;
    EXPECT_EQ(one.first_target, t);
    EXPECT_EQ(one.token, data.tokens[static_cast<std::size_t>(t)]);
    EXPECT_EQ(one.document, document);
    EXPECT_EQ(one.bytes, target_bytes(data, t));
    // The first window scores all of its 16 targets, every later one its last 5.
    const std::int64_t later = t <= 16 ? 0 : (t - 16 + 4) / 5;
    EXPECT_EQ(one.position, t - 1 - later * 5) << t;
    EXPECT_FLOAT_EQ(static_cast<float>(one.nats()), row.target_nats(t));
    by_position[one.position] += one.units;
    by_document[document] += one.units;
  }
  for (const BreakdownRow& one : rows_of(row, data, BreakdownKind::position))
    EXPECT_EQ(one.units, by_position.at(one.position));
  std::int64_t first = 1;
  for (const BreakdownRow& one : rows_of(row, data, BreakdownKind::document)) {
    EXPECT_EQ(one.units, by_document.at(one.document));
    EXPECT_EQ(one.first_target, first);
    first += one.targets;
  }
}

TEST(Breakdown, JsonAndCsvHoldTheSame) {
  const EvalData data = random_data(90, 5);
  const std::vector<ScoreRow> rows = {score(data, {ModeKind::chunked}), score(data, {ModeKind::document})};
  for (const BreakdownKind kind : kKinds) {
    std::string csv;
    ASSERT_TRUE(breakdown_csv(rows, data, kind, [&](std::string_view text) -> Status {
      csv += text;
      return {};
    }));
    std::istringstream lines(csv);
    std::string line;
    std::getline(lines, line);
    const std::vector<std::string> names = split(line, ',');
    EXPECT_EQ(names[0], "mode");
    for (const ScoreRow& row : rows) {
      const auto json = breakdown_json(row, data, kind);
      ASSERT_TRUE(json);
      EXPECT_EQ(json->size(), names.size());  // "by" in place of "mode"
      for (std::size_t i = 0; i < (*json)[names[1]].size(); ++i) {
        ASSERT_TRUE(std::getline(lines, line));
        const std::vector<std::string> values = split(line, ',');
        ASSERT_EQ(values.size(), names.size());
        EXPECT_EQ(values[0], mode_name(row.mode));
        for (std::size_t c = 1; c < names.size(); ++c) {
          const Json& value = (*json)[names[c]][i];
          EXPECT_EQ(values[c].empty(), value.is_null());
          if (!value.is_null()) {
            EXPECT_EQ(std::stod(values[c]), value.get<double>()) << names[c];
          }
        }
      }
    }
    EXPECT_FALSE(std::getline(lines, line));
  }
  EXPECT_EQ(*breakdown_kind("token"), BreakdownKind::token);
  EXPECT_EQ(breakdown_kind("word").error().code, ErrorCode::usage);
}

}  // namespace
}  // namespace par5
