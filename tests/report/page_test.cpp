// A made-up run of 10,000 steps: the page is small, complete, self-contained and sound, and Chromium shows it without
// errors.
#include "report/page.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <regex>

#include "core/file.h"
#include "core/text.h"
#include "eval/ledger_file.h"
#include "report/style.h"
#include "tests/archive/models.h"

namespace par5 {
namespace {

RunData made_up_run(const std::string& name, int steps, double offset = 0) {
  RunData run;
  run.name = name;
  run.path = "runs/" + name;
  run.config = {{"model.layers", "2"}, {"quantizer.grid", "\"quinary\""}};
  run.facts = {{"seed", 42}};
  for (int step = 1; step <= steps; ++step) {
    run.curves["loss"].push_back({double(step), offset + 3 + 6 * std::exp(-step / 900.0) + 0.1 * std::sin(step * 1.7)});
    run.curves["lr"].push_back({double(step), 0.016 * (step < steps * 0.8 ? 1 : (steps - step) / (steps * 0.2))});
    if (step % 100 == 0) run.curves["val_bpb"].push_back({double(step), offset + 1.2 + std::exp(-step / 2000.0)});
  }
  run.tokens = 8192.0 * steps;
  run.train_seconds = 612.5;
  const auto encoded = encode_artifact(test::random_artifact(test::small_model(), test::small_quantizer()), {0, 1});
  EXPECT_TRUE(encoded);
  run.artifact = encoded->report;
  for (int i = 0; i < 8; ++i)
    run.levels.push_back({"blocks." + std::to_string(i) + ".mlp.fc.weight", {11, 23, 31, 24, 11}, -2, 1, 0.31});
  run.evaluation = {{"chunked", offset + 1.218, 3.4, 12.0},
                    {"sliding", offset + 1.2034, 3.3, 40.0},
                    {"ttt:scalars", offset + 1.2031, 3.3, 110.0}};
  run.evaluation[2].against = "ttt:scalars@lr=0";
  run.evaluation[2].difference = -0.0004;
  run.evaluation[2].low = -0.0006;
  run.evaluation[2].high = -0.0002;
  run.baselines = {{"xz -9e", 2.3398, std::nullopt, std::nullopt}};
  run.audit = {{"S1", "pass", "15,900,000 of 16,000,000 bytes"},
               {"K1", "unknown", "no <source> text & \"nothing\" else"}};
  run.audit_verdict = "unknown";
  run.cap_bytes = 16'000'000;
  run.total_bytes = 15'900'000;
  run.missing = {"no evaluation: par5 eval m --data VAL"};
  return run;
}

// Every tag of the body that is opened is closed, in order.
void expect_well_formed(const std::string& page) {
  std::vector<std::string> open;
  for (std::size_t at = page.find("<body>"), end = 0; at < page.find("</html>"); at = page.find('<', end)) {
    end = page.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = page.substr(at + 1, end - at - 1);
    if (tag.ends_with('/')) continue;
    if (tag.starts_with('/')) {
      ASSERT_FALSE(open.empty()) << tag;
      ASSERT_EQ("/" + open.back(), tag);
      open.pop_back();
    } else {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  EXPECT_TRUE(open.empty());
}

TEST(ReportPage, TenThousandStepsStayUnderAMegabyte) {
  const std::string page = report_page({made_up_run("one", 10'000)}, "par5 test");
  EXPECT_LT(page.size(), 1'000'000u);
  EXPECT_LT(page.size(), 250'000u) << "far below the bound, as it stands";
  EXPECT_EQ(page, report_page({made_up_run("one", 10'000)}, "par5 test"));
}

TEST(ReportPage, HoldsWhatTheRunHolds) {
  const std::string page = report_page({made_up_run("one", 500)}, "par5 test");
  for (const char* text :
       {"1.21800", "1.20310", "Where the bytes are", "Levels", "Training loss", "Validation", "Learning rate", "xz -9e",
        "15,900,000 of 16,000,000 bytes", "tok_emb.weight", "blocks.0.attn.c_qkv.weight", "Configuration", "quinary",
        "[-0.000600, -0.000200]", "ttt:scalars@lr=0"})
    EXPECT_NE(page.find(text), std::string::npos) << text;
  EXPECT_NE(page.find("no &lt;source&gt; text &amp; &quot;nothing&quot; else"), std::string::npos);
  const std::string text = report_text({made_up_run("one", 500)});
  for (const char* part : {"1.21800000", "1.20310000", "tok_emb.weight", "audit: unknown", "S1", "31.00 %"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

TEST(ReportPage, IsSelfContainedAndAccessible) {
  const std::string page = report_page({made_up_run("one", 500), made_up_run("two", 500, 0.01)}, "par5 test");
  EXPECT_EQ(page.find("http://"), std::string::npos);
  EXPECT_EQ(page.find("https://"), std::string::npos);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("url("), std::string::npos);
  EXPECT_NE(page.find("lang=\"en\""), std::string::npos);
  EXPECT_NE(page.find("prefers-color-scheme:dark"), std::string::npos);
  EXPECT_NE(page.find("@media print"), std::string::npos);
  // Every image has a title, or is decoration.
  static const std::regex image("<svg[^>]*>(<title>)?");
  for (std::sregex_iterator it(page.begin(), page.end(), image), end; it != end; ++it)
    EXPECT_TRUE((*it)[1].matched || it->str().find("aria-hidden") != std::string::npos) << it->str();
  expect_well_formed(page);
}

TEST(ReportPage, RunsSideBySide) {
  auto runs =
      std::vector<RunData>{made_up_run("one", 500), made_up_run("two", 500, 0.01), made_up_run("three", 500, 0.02)};
  runs[1].config["model.layers"] = "4";
  const std::string page = report_page(runs, "par5 test");
  EXPECT_NE(page.find("model.layers: 2, 4"), std::string::npos);
  // Mean 1.228, standard deviation 0.01, three values: half width 4.3027 · 0.01 / sqrt(3).
  EXPECT_NE(page.find("1.22800 ± 0.0248"), std::string::npos);
}

TEST(ReportPage, OddRunsAreNoTrouble) {
  RunData empty;
  empty.name = empty.path = "<b>&";
  RunData short_run = made_up_run("short", 1);
  RunData broken = made_up_run("broken", 10);
  for (SeriesPoint& point : broken.curves["loss"]) point.y = NAN;
  for (const RunData& run : {empty, short_run, broken}) {
    const std::string page = report_page({run}, "par5 test");
    expect_well_formed(page);
    EXPECT_EQ(page.find("nan"), std::string::npos);
    EXPECT_EQ(page.find("<b>"), std::string::npos);
  }
}

TEST(ReportSeries, EnvelopesKeepExtremesAndOrder) {
  std::vector<SeriesPoint> series;
  for (int i = 0; i < 10'000; ++i) series.push_back({double(i), i == 7'777 ? 100.0 : std::sin(i)});
  const auto points = envelope(series, 400);
  ASSERT_EQ(points.size(), 400u);
  double highest = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    highest = std::max(highest, points[i].highest);
    EXPECT_LE(points[i].lowest, points[i].mean);
    EXPECT_LE(points[i].mean, points[i].highest);
    if (i > 0) {
      EXPECT_GT(points[i].x, points[i - 1].x);
    }
  }
  EXPECT_EQ(highest, 100);
  EXPECT_EQ(envelope(series, 20'000).size(), 10'000u);
  EXPECT_TRUE(envelope({}, 10).empty());
}

TEST(ReportSeries, TicksAreRound) {
  EXPECT_EQ(ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(ticks(1.18, 1.24, 3).size(), 4u);
  EXPECT_EQ(tick_text(1.2, 0.02), "1.20");
  EXPECT_EQ(tick_text(20'000, 5'000), "20,000");
  EXPECT_EQ(ticks(3, 3, 5), std::vector<double>{3});
}

// A run folder, as training and the --json reports leave it.
TEST(ReportData, ARunFolderIsRead) {
  const auto folder = TemporaryFolder::create();
  ASSERT_TRUE(folder);
  const auto put = [&](const char* name, const std::string& text) {
    ASSERT_TRUE(write_file(join_path(folder->path(), name), text, Overwrite::yes));
  };
  put("metrics.jsonl",
      "{\"step\":1,\"loss\":7.5,\"tokens\":100,\"seconds\":1.5}\n{\"step\":2,\"loss\":7.25,\"tokens\":200,\"seconds\":"
      "3}\n{\"step\":2,\"val_bpb\":2.5}\n{\"step\":3,\"lo");
  put("eval.json",
      R"({"rows":[{"mode":"chunked","bpb":1.5,"nats_per_token":4.0,"mode_seconds":2},{"mode":"sliding","bpb":1.25}]})");
  put("audit.json",
      R"({"verdict":"pass","total_bytes":10,"cap_bytes":12,"checks":[{"id":"size_cap","verdict":"pass","evidence":"10 of 12"}]})");
  const auto runs = read_runs(folder->path());
  ASSERT_TRUE(runs) << to_string(runs.error());
  ASSERT_EQ(runs->size(), 1u);
  const RunData& run = runs->front();
  EXPECT_EQ(run.curves.at("loss").size(), 2u);
  EXPECT_EQ(run.last("loss"), 7.25);
  EXPECT_EQ(run.last("val_bpb"), 2.5);
  EXPECT_EQ(run.tokens, 200);
  ASSERT_TRUE(run.row("sliding"));
  EXPECT_EQ(run.row("sliding")->bpb, 1.25);
  EXPECT_EQ(run.audit_verdict, "pass");
  EXPECT_EQ(run.missing.size(), 1u) << "the artifact";
  put("eval.json", "[]");
  EXPECT_EQ(read_runs(folder->path()).error().code, ErrorCode::bad_data);
}

// ---- Score ledgers

// 4,800 targets of 4 bytes and 8 bits, twice as many bits in the last half; 10 steps of learning at the very end.
void write_ledger(const std::string& path, bool sealed = true) {
  LedgerDeclaration declaration;
  declaration.mode = "ttt:scalars";
  declaration.targets = 4800;
  declaration.engine = "test";
  declaration.model_sha256 = std::string(64, 'a');
  declaration.learner = "made up";
  auto file = LedgerFile::create(
      path, declaration, [](std::int64_t) { return 4u; }, Overwrite::yes);
  ASSERT_TRUE(file);
  const std::vector<std::uint32_t> units(2400, 8u << kLedgerFractionBits), more(2400, 16u << kLedgerFractionBits);
  ASSERT_TRUE(file->add_scores(1, units));
  ASSERT_TRUE(file->add_scores(2401, more));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(file->add({LedgerEvent::Kind::learnt, 1, 513, i, 512, 0.1, {}}));
  if (sealed) {
    ASSERT_TRUE(file->seal());
  }
}

TEST(ReportLedger, CellsAddUpAndShowWhereItLearnt) {
  const auto folder = TemporaryFolder::create();
  ASSERT_TRUE(folder);
  const std::string path = join_path(folder->path(), "val.ledger");
  write_ledger(path);
  const auto strip = read_ledger_strip(path);
  ASSERT_TRUE(strip) << to_string(strip.error());
  EXPECT_EQ(strip->verdict, "pass") << strip->first_violation;
  ASSERT_EQ(strip->cells.size(), 240u);
  std::int64_t next = 1;
  for (const LedgerCell& cell : strip->cells) {
    EXPECT_EQ(cell.first_target, next);
    EXPECT_EQ(cell.bytes, 4 * (cell.end_target - cell.first_target));
    EXPECT_EQ(ledger_bits(cell.units) / static_cast<double>(cell.bytes), next <= 2400 ? 2 : 4);
    next = cell.end_target;
  }
  EXPECT_EQ(next, 4801);
  EXPECT_EQ(strip->cells.back().updates, 10);
  EXPECT_EQ(strip->cells[100].updates, 0);

  const auto runs = read_runs(path);
  ASSERT_TRUE(runs) << to_string(runs.error());
  const std::string page = report_page(*runs, "par5 test");
  for (const char* text : {"Score ledger", "3.00000000 bits per byte", "4,800 of 4,800 targets",
                           "targets 4,781 to 4,800: 4.000 bits per byte, 10 updates", "From 2.000 to 4.000"})
    EXPECT_NE(page.find(text), std::string::npos) << text;
  expect_well_formed(page);
  EXPECT_NE(report_text(*runs).find("ledger val.ledger: pass (ttt:scalars, 4,800 targets, 10 updates, 3.00000000 bpb)"),
            std::string::npos)
      << report_text(*runs);
}

TEST(ReportLedger, DamageIsShownAndNamed) {
  const auto folder = TemporaryFolder::create();
  ASSERT_TRUE(folder);
  const std::string path = join_path(folder->path(), "val.ledger");
  write_ledger(path, false);
  auto strip = read_ledger_strip(path);
  ASSERT_TRUE(strip);
  EXPECT_EQ(strip->verdict, "unknown") << "unsealed";
  write_ledger(path);
  auto bytes = read_file(path);
  (*bytes)[bytes->size() / 2] ^= std::byte{1};
  ASSERT_TRUE(write_file(path, *bytes, Overwrite::yes));
  strip = read_ledger_strip(path);
  ASSERT_TRUE(strip);
  EXPECT_EQ(strip->verdict, "fail");
  EXPECT_FALSE(strip->first_violation.empty());
  expect_well_formed(report_page(*read_runs(path), "par5 test"));
  bytes->resize(20);
  ASSERT_TRUE(write_file(path, *bytes, Overwrite::yes));
  EXPECT_EQ(read_runs(path).error().code, ErrorCode::bad_data);
}

// ---- Contrast

// Relative luminance and contrast of colours like #1c1f23 or #fff (WCAG 2.1).
double luminance(std::string colour) {
  if (colour.size() == 4) colour = {'#', colour[1], colour[1], colour[2], colour[2], colour[3], colour[3]};
  double sum = 0;
  for (int i = 0; i < 3; ++i) {
    const double value = std::stoi(colour.substr(static_cast<std::size_t>(1 + 2 * i), 2), nullptr, 16) / 255.0;
    sum += (i == 0   ? 0.2126
            : i == 1 ? 0.7152
                     : 0.0722) *
           (value <= 0.04045 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4));
  }
  return sum;
}

TEST(ReportPage, ColoursHaveContrast) {
  // The style sheet has three sets: light, dark, paper.
  const std::string style = kStyle;
  static const std::regex block(":root\\{([^}]*)\\}"), variable("--([a-z0-9]+):(#[0-9a-f]+)");
  int blocks = 0;
  for (std::sregex_iterator it(style.begin(), style.end(), block), end; it != end; ++it, ++blocks) {
    const std::string body = (*it)[1];
    std::map<std::string, std::string> colours;
    for (std::sregex_iterator one(body.begin(), body.end(), variable); one != end; ++one)
      colours[(*one)[1]] = (*one)[2];
    for (const char* ground : {"bg", "card"})
      for (const char* name : {"ink", "soft", "accent", "good", "bad", "open", "c0", "c1", "c2", "c3", "c4", "c5"}) {
        ASSERT_TRUE(colours.count(name) && colours.count(ground)) << name;
        const double a = luminance(colours[name]) + 0.05, b = luminance(colours[ground]) + 0.05;
        EXPECT_GE(std::max(a, b) / std::min(a, b), 4.5) << name << " on " << ground << ", set " << blocks;
      }
  }
  EXPECT_EQ(blocks, 3);
}

// ---- Chromium

std::string shell(const std::string& command) {
  std::string out;
  FILE* pipe = ::popen(command.c_str(), "r");
  char buffer[4096];
  for (std::size_t n; pipe && (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
  if (pipe) ::pclose(pipe);
  return out;
}

// The share of bytes of a PNG's filtered rows that are not zero: a blank page has next to none.
double ink(const std::string& png) {
  std::string compressed;
  for (std::size_t at = 8; at + 12 <= png.size();) {
    const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(png[at + i])); };
    const std::size_t length = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
    if (png.compare(at + 4, 4, "IDAT") == 0) compressed += png.substr(at + 8, length);
    at += 12 + length;
  }
  z_stream stream{};
  inflateInit(&stream);
  stream.next_in = reinterpret_cast<Bytef*>(compressed.data());
  stream.avail_in = static_cast<uInt>(compressed.size());
  std::size_t set = 0, total = 0;
  for (int state = Z_OK; state == Z_OK;) {
    unsigned char buffer[1 << 16];
    stream.next_out = buffer;
    stream.avail_out = sizeof buffer;
    state = inflate(&stream, Z_NO_FLUSH);
    for (std::size_t i = 0; i < sizeof buffer - stream.avail_out; ++i, ++total) set += buffer[i] != 0;
  }
  inflateEnd(&stream);
  return total ? static_cast<double>(set) / static_cast<double>(total) : 0;
}

void expect_chromium_shows(const std::string& page, const std::string& options, const std::string& expected_text) {
  const std::string chromium =
      std::string(trim(shell("command -v chromium || command -v chromium-browser || command -v google-chrome")));
  if (chromium.empty()) GTEST_SKIP() << "no Chromium here (apt-get install chromium)";
  const auto folder = TemporaryFolder::create();
  ASSERT_TRUE(folder);
  const std::string file = join_path(folder->path(), "page.html"), image = join_path(folder->path(), "page.png"),
                    log = join_path(folder->path(), "log");
  ASSERT_TRUE(write_file(file, page, Overwrite::no));
  const std::string common =
      "timeout 100 '" + chromium +
      "' --headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars --user-data-dir=" + folder->path() +
      "/profile --enable-logging=stderr --v=0 " + options;
  shell(common + " --screenshot=" + image + " file://" + file + " >/dev/null 2>" + log);
  const auto errors = read_text_file(log), png = read_text_file(image);
  ASSERT_TRUE(png) << (errors ? *errors : "");
  EXPECT_GT(ink(*png), 0.004) << "the screenshot is blank";
  EXPECT_EQ(errors->find("CONSOLE"), std::string::npos) << *errors;
  const std::string dom = shell(common + " --dump-dom file://" + file + " 2>/dev/null");
  EXPECT_NE(dom.find(expected_text), std::string::npos);
  shell("rm -rf '" + folder->path() + "/profile'");
}

TEST(ReportInChromium, IsShownWithoutErrors) {
  expect_chromium_shows(report_page({made_up_run("one", 10'000)}, "par5 test"), "--window-size=1200,2400",
                        "Where the bytes are");
}
TEST(ReportInChromium, LongDarkNarrowAndBlank) {
  const std::string page = report_page({made_up_run("one", 10'000), made_up_run("two", 9'000, 0.02)}, "par5 test");
  expect_chromium_shows(page, "--window-size=420,2400", "The runs side by side");
  expect_chromium_shows(page, "--window-size=1200,2400 --blink-settings=preferredColorScheme=0",
                        "The runs side by side");
}

}  // namespace
}  // namespace par5
