// Toy runs of the trainer.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/text.h"
#include "model/runtime.h"
#include "tests/train/toy.h"
#include "train/trainer.h"

namespace par5 {

using Json = nlohmann::json;

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    set_threads(1);  // several only wait for each other on nets this small
    write_toy_shards(data_, 2000);
    write_toy_shards(validation_, 333, 64, 9);
  }
  TrainRequest request(const std::string& run, const std::vector<std::string>& changes = {}) {
    TrainRequest request;
    request.config = toy_config(changes);
    request.data = data_;
    request.run_folder = folder_.at(run);
    request.version = "test";
    request.stop = [] { return false; };
    return request;
  }
  static std::string bytes(const TrainRequest& request, const std::string& name) {
    return read_text_file(join_path(request.run_folder, name)).value();
  }
  static std::vector<Json> metrics(const TrainRequest& request) {
    std::vector<Json> lines;
    for (const std::string& line : split(bytes(request, "metrics.jsonl"), '\n'))
      if (!line.empty()) lines.push_back(Json::parse(line));
    return lines;
  }
  // Stops when it has been asked `calls` times; the trainer asks once per micro-batch.
  static std::function<bool()> stop_after(int calls) {
    return [left = calls]() mutable { return left-- <= 0; };
  }

  TestFolder folder_;
  std::string data_ = folder_.at("data"), validation_ = folder_.at("validation");
};

}  // namespace par5
