#include "core/config.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

TEST(Config, LayersOverrideEachOtherAndKeepTheirOrigin) {
  LoadedConfig config;
  ASSERT_TRUE(config.apply_toml("[model]\nwidth = 384\nheads = 4\n\n[train]\nmax_seconds = 60.5\n", "demo.toml"));
  ::setenv("PAR5_MODEL_HEADS", "8", 1);
  ASSERT_TRUE(config.apply_environment());
  ::unsetenv("PAR5_MODEL_HEADS");
  ASSERT_TRUE(config.apply_assignment("model.layers = 4"));
  EXPECT_EQ(config.values().model.width, 384);
  EXPECT_EQ(config.values().model.heads, 8);
  EXPECT_EQ(config.values().model.layers, 4);
  EXPECT_EQ(config.values().train.max_seconds, 60.5);
  EXPECT_EQ(config.origin("model.width"), "demo.toml:2");
  EXPECT_EQ(config.origin("model.heads"), "environment PAR5_MODEL_HEADS");
  EXPECT_EQ(config.origin("model.layers"), "--set");
  EXPECT_EQ(config.origin("model.vocab"), "default");
}

TEST(Config, UnknownKeysAreErrorsWithASuggestion) {
  LoadedConfig config;
  const Status file = config.apply_toml("[model]\nwidht = 384\n", "demo.toml");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::usage);
  EXPECT_NE(file.error().message.find("did you mean 'model.width'?"), std::string::npos) << file.error().message;
  EXPECT_NE(file.error().message.find("demo.toml:2"), std::string::npos);
  const Status assignment = config.apply_assignment("model.grid=quinary");
  ASSERT_FALSE(assignment);
  EXPECT_EQ(assignment.error().key, "model.grid");
  ::setenv("PAR5_TRAIN_STEP", "8", 1);
  const Status environment = config.apply_environment();
  ::unsetenv("PAR5_TRAIN_STEP");
  ASSERT_FALSE(environment);
  EXPECT_NE(environment.error().message.find("PAR5_TRAIN_STEPS"), std::string::npos);
}

TEST(Config, ForeignEnvironmentVariablesAreIgnored) {
  ::setenv("PAR5_LIBTORCH", "/somewhere", 1);
  LoadedConfig config;
  EXPECT_TRUE(config.apply_environment());
  ::unsetenv("PAR5_LIBTORCH");
}

TEST(Config, ValuesOfTheWrongKindOrRangeAreErrors) {
  for (const char* toml : {"[model]\nwidth = \"wide\"\n", "[model]\nwidth = 0\n", "[model]\nwidth = 1.5\n",
                           "[model]\nfused_qkv = 1\n", "[model]\nsoftcap = \"poly6\"\n", "[model]\nsoftcap = 3\n",
                           "[train]\nz_loss = nan\n", "[model]\nwidth = [1]\n", "width = 3\n"}) {
    LoadedConfig config;
    const Status status = config.apply_toml(toml, "x.toml");
    ASSERT_FALSE(status) << toml;
    EXPECT_EQ(status.error().code, ErrorCode::usage) << toml;
  }
  LoadedConfig config;
  const Status broken = config.apply_toml("[model\nwidth = 3", "x.toml");
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, ErrorCode::bad_data);
  EXPECT_NE(broken.error().message.find("line"), std::string::npos) << broken.error().message;
}

TEST(Config, ItsTomlReadsBackToTheSameValues) {
  LoadedConfig config;
  ASSERT_TRUE(
      config.apply_toml("[model]\nwidth = 192\nheads = 4\nkv_heads=2\n[optimizer]\nadam_epsilon = "
                        "1e-9\n[budget]\nrules=\"a \\\"b\\\"\"\n",
                        "x"));
  LoadedConfig again;
  const Status status = again.apply_toml(config.to_toml(true), "y");
  ASSERT_TRUE(status) << to_string(status.error());
  EXPECT_EQ(again.to_toml(false), config.to_toml(false));
  EXPECT_EQ(again.values().budget.rules, "a \"b\"");
}

TEST(Config, ImpossibleShapesAreNamed) {
  const auto message = [](std::vector<std::string> assignments) {
    LoadedConfig config;
    for (const std::string& assignment : assignments) EXPECT_TRUE(config.apply_assignment(assignment));
    const Status status = config.check();
    return status ? std::string("ok") : status.error().message;
  };
  EXPECT_EQ(message({}), "ok");
  EXPECT_NE(message({"model.heads=7"}).find("not divisible by model.heads 7"), std::string::npos);
  EXPECT_NE(message({"model.kv_heads=4"}).find("not divisible by model.kv_heads 4"), std::string::npos);
  EXPECT_NE(message({"quantizer.group=100"}).find("does not divide model.width"), std::string::npos);
  EXPECT_NE(message({"quantizer.scale_bits=7"}).find("one of 4, 5, 6, 8, 16"), std::string::npos);
  EXPECT_NE(message({"train.max_seconds=0"}).find("would never end"), std::string::npos);
  EXPECT_NE(message({"train.sequence=1000"}).find("not a multiple"), std::string::npos);
}

TEST(Config, EveryKeyHasHelpAndADefaultThatItAccepts) {
  for (const ConfigKey& key : config_keys()) {
    EXPECT_FALSE(key.help.empty()) << key.name;
    LoadedConfig config;
    const Status status = config.apply_assignment(key.name + "=" + key.fallback);
    EXPECT_TRUE(status) << key.name << ": " << (status ? "" : to_string(status.error()));
  }
}

TEST(Text, NearestName) {
  EXPECT_EQ(nearest_name("trian", {"train", "eval"}), "train");
  EXPECT_EQ(nearest_name("zzzzzz", {"train", "eval"}), "");
}

TEST(Text, Utf8) {
  EXPECT_EQ(find_invalid_utf8("plain, h\xc3\xa9, \xe2\x96\x81, \xf0\x9f\x98\x80"), std::string::npos);
  EXPECT_EQ(find_invalid_utf8("a\xff"), 1u);
  EXPECT_EQ(find_invalid_utf8("ab\xc0\x80"), 2u);        // overlong
  EXPECT_EQ(find_invalid_utf8("\xed\xa0\x80"), 0u);      // surrogate
  EXPECT_EQ(find_invalid_utf8("\xf4\x90\x80\x80"), 0u);  // beyond U+10FFFF
  EXPECT_EQ(find_invalid_utf8("ok \xe2\x96"), 3u);       // cut short
}

TEST(Text, Numbers) {
  EXPECT_EQ(grouped(1234567), "1,234,567");
  EXPECT_EQ(grouped(-123), "-123");
  EXPECT_EQ(grouped(-1234), "-1,234");
  EXPECT_EQ(shortest(0.1), "0.1");
  EXPECT_EQ(fixed(1.0 / 3.0, 8), "0.33333333");
  EXPECT_EQ(duration(3723), "1 h 02 m");
  EXPECT_EQ(duration(59.96), "60.0 s");
}

}  // namespace
}  // namespace par5
