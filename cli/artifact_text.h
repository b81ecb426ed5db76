// What the commands on artifacts print alike: byte columns, the parts of a file, its configuration.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "archive/artifact.h"

namespace par5 {

// A number of bytes, grouped and right-aligned in `width` columns.
std::string byte_column(std::uint64_t bytes, std::size_t width = 14);
// `text` padded with blanks to `width` columns (code points).
std::string left_column(const std::string& text, std::size_t width);

// The parts of file_bytes as JSON keys, and as lines for a person.
void add_size_keys(nlohmann::ordered_json& report, const ArtifactReport& sizes);
std::string size_table(const ArtifactReport& sizes);

// Configuration of the model and its quantiser by key: {"model.width": 192, …}.
nlohmann::ordered_json config_json(const StoredModel& model);
// "unet, 4 layers, width 192, vocabulary 4,096; quinary weights in groups of 192, fp16 scales"
std::string describe_model(const StoredModel& model);

}  // namespace par5
