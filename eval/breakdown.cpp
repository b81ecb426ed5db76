#include "eval/breakdown.h"

#include <algorithm>
#include <array>
#include <numbers>

#include "core/text.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kPieceBytes = 100'000;
constexpr std::array<const char*, 3> kKinds = {"document", "position", "token"};

const char* kind_name(BreakdownKind kind) { return kKinds[static_cast<std::size_t>(kind)]; }

// Position in its window of each target, by target id - 1.
Result<std::vector<std::uint32_t>> window_positions(const ScoreRow& row, const EvalData& data) {
  std::vector<std::uint32_t> positions(static_cast<std::size_t>(row.targets));
  P5_TRY(const std::vector<Window> plan, mode_plan(data, row.mode, row.targets, row.window, row.stride));
  for (const Window& window : plan)
    for (std::int64_t p = window.first_scored; p < window.length; ++p)
      positions[static_cast<std::size_t>(window.start + p)] = static_cast<std::uint32_t>(p);
  return positions;
}

void add(BreakdownRow& sum, const BreakdownRow& one) {
  if (sum.targets == 0) sum.first_target = one.first_target;
  sum.targets += one.targets;
  sum.bytes += one.bytes;
  sum.units += one.units;
}

// Bits per charged byte; null where nothing is charged.
Json bpb(const BreakdownRow& row) { return row.bytes > 0 ? Json(row.bits() / static_cast<double>(row.bytes)) : Json(); }

struct Column {
  const char* name;
  Json (*value)(const BreakdownRow& row);
};

std::vector<Column> columns(BreakdownKind kind) {
  std::vector<Column> columns;
  if (kind == BreakdownKind::token)
    columns = {{"target", [](const BreakdownRow& row) { return Json(row.first_target); }},
               {"token", [](const BreakdownRow& row) { return Json(row.token); }}};
  if (kind != BreakdownKind::position)
    columns.push_back({"document", [](const BreakdownRow& row) { return Json(row.document); }});
  if (kind != BreakdownKind::document)
    columns.push_back({"position", [](const BreakdownRow& row) { return Json(row.position); }});
  if (kind == BreakdownKind::document)
    columns.push_back({"first_target", [](const BreakdownRow& row) { return Json(row.first_target); }});
  if (kind != BreakdownKind::token)
    columns.push_back({"targets", [](const BreakdownRow& row) { return Json(row.targets); }});
  columns.push_back({"bytes", [](const BreakdownRow& row) { return Json(row.bytes); }});
  columns.push_back({"bits", [](const BreakdownRow& row) { return Json(row.bits()); }});
  columns.push_back({"nats", [](const BreakdownRow& row) { return Json(row.nats()); }});
  if (kind != BreakdownKind::token) columns.push_back({"bpb", bpb});
  return columns;
}

}  // namespace

Result<BreakdownKind> breakdown_kind(std::string_view name) {
  const auto found = std::find(kKinds.begin(), kKinds.end(), name);
  if (found != kKinds.end()) return static_cast<BreakdownKind>(found - kKinds.begin());
  return usage_error("a score is broken down by document, position or token, not by '" + std::string(name) + "'",
                     "--by");
}

Status break_down(const ScoreRow& row, const EvalData& data, BreakdownKind kind,
                  const std::function<Status(const BreakdownRow&)>& sink) {
  const bool by_document = kind == BreakdownKind::document;
  if (!by_document && row.mode.stream)
    return usage_error(mode_name(row.mode) + " has no windows, so that its targets have no position in one", "--by");
  std::vector<std::uint32_t> positions;
  if (!by_document) {
    P5_TRY(positions, window_positions(row, data));
  }
  BreakdownRow document;
  std::vector<BreakdownRow> by_position(kind == BreakdownKind::position ? static_cast<std::size_t>(row.window) : 0);
  std::int64_t documents = 0;
  for (std::int64_t t = 1; t <= row.targets; ++t) {
    const auto index = static_cast<std::size_t>(t);
    // A document's targets begin behind its BOS.
    if (t > 1 && data.tokens[index - 1] == data.bos) {
      if (by_document) P5_OK(sink(document));
      document = {};
      document.document = ++documents;
    }
    const BreakdownRow one{documents,
                           by_document ? 0 : positions[index - 1],
                           t,
                           data.tokens[index],
                           1,
                           target_bytes(data, t),
                           row.target_units[index - 1]};
    switch (kind) {
      case BreakdownKind::document:
        add(document, one);
        break;
      case BreakdownKind::position:
        add(by_position[static_cast<std::size_t>(one.position)], one);
        break;
      case BreakdownKind::token:
        P5_OK(sink(one));
        break;
    }
  }
  if (by_document) return sink(document);
  for (std::size_t p = 0; p < by_position.size(); ++p) {
    if (by_position[p].targets == 0) continue;
    by_position[p].position = static_cast<std::int64_t>(p);
    P5_OK(sink(by_position[p]));
  }
  return {};
}

Result<Json> breakdown_json(const ScoreRow& row, const EvalData& data, BreakdownKind kind) {
  const std::vector<Column> wanted = columns(kind);
  std::vector<Json> lists(wanted.size(), Json::array());
  const auto add_row = [&](const BreakdownRow& one) -> Status {
    for (std::size_t c = 0; c < wanted.size(); ++c) lists[c].push_back(wanted[c].value(one));
    return {};
  };
  P5_OK(break_down(row, data, kind, add_row));
  Json object = {{"by", kind_name(kind)}};
  for (std::size_t c = 0; c < wanted.size(); ++c) object[wanted[c].name] = std::move(lists[c]);
  return object;
}

Status breakdown_csv(const std::vector<ScoreRow>& rows, const EvalData& data, BreakdownKind kind,
                     const std::function<Status(std::string_view)>& sink) {
  const std::vector<Column> wanted = columns(kind);
  std::string text = "mode";
  for (const Column& column : wanted) text += std::string(",") + column.name;
  text += "\n";
  for (const ScoreRow& row : rows) {
    const std::string mode = mode_name(row.mode);
    const auto write_row = [&](const BreakdownRow& one) -> Status {
      text += mode;
      for (const Column& column : wanted) {
        const Json value = column.value(one);
        text += ",";
        if (value.is_number_float())
          text += shortest(value.get<double>());
        else if (!value.is_null())
          text += std::to_string(value.get<std::int64_t>());
      }
      text += "\n";
      if (text.size() < kPieceBytes) return {};
      P5_OK(sink(text));
      text.clear();
      return {};
    };
    P5_OK(break_down(row, data, kind, write_row));
  }
  return sink(text);
}

}  // namespace par5
