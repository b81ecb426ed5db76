#include "budgets/script_closure.h"

#include <lzma.h>

#include <algorithm>
#include <set>

#include "budgets/foreign/python_source.h"
#include "core/file.h"

namespace par5 {
namespace {

// Modules and programs by which text reaches the network.
bool reaches_network(std::string_view module) {
  static const std::set<std::string_view> names = {"urllib",  "requests",        "http",   "socket",
                                                   "ftplib",  "huggingface_hub", "wandb",  "httpx",
                                                   "aiohttp", "boto3",           "smtplib"};
  return names.count(module.substr(0, module.find('.'))) > 0;
}
bool is_network_program(std::string_view word) {
  static const std::set<std::string_view> names = {"wget", "curl", "pip",   "pip3", "apt",    "apt-get",        "git",
                                                   "ssh",  "scp",  "rsync", "aws",  "gsutil", "huggingface-cli"};
  return names.count(word) > 0;
}
bool starts_process(std::string_view callee) {
  static const std::set<std::string_view> names = {"subprocess.run",
                                                   "subprocess.Popen",
                                                   "subprocess.call",
                                                   "subprocess.check_call",
                                                   "subprocess.check_output",
                                                   "os.system",
                                                   "os.popen",
                                                   "os.execv",
                                                   "os.execvp",
                                                   "os.spawnv",
                                                   "pty.spawn"};
  return names.count(callee) > 0;
}

// Files that are data of a run rather than something the script brings along.
bool is_counted_kind(const FolderFile& file) {
  return file.kind == "python" || file.kind == "script" || file.kind == "other" || file.kind == "artifact" ||
         file.kind == "json";
}

class Closure {
 public:
  explicit Closure(const RecordFolder& folder) : folder_(folder) {}

  ScriptClosure run() {
    out_.entry = folder_.entry_script;
    if (out_.entry.empty()) return std::move(out_);
    visit(out_.entry, true);
    return std::move(out_);
  }

 private:
  void visit(const std::string& file, bool entry) {
    if (!visited_.insert(file).second) return;
    const auto text = folder_.read_text(file);
    if (!text) {
      out_.unclear.push_back({"'" + file + "' cannot be read", {file, 0, {}}});
      return;
    }
    const ReadBeside beside = [this](const std::string& name) { return folder_.read_text(name); };
    auto opened = open_script(*text, file_name(file), beside);
    if (!opened) {
      out_.unclear.push_back({opened.error().message, {file, 0, {}}});
      if (entry) out_.raw_source += *text;
      return;
    }
    for (const OpaqueExec& opaque : opened->opaque)
      out_.unclear.push_back({"exec that cannot be followed: " + opaque.why, {file, opaque.line, {}}});
    for (const std::string& name : opened->files) {
      add(name, "executed", {file, 0, {}});
      visited_.insert(name);  // its source is one of the layers
    }
    if (opened->layers.empty())
      out_.raw_source += *text;
    else
      out_.raw_source += opened->source;
    scan(file, *text);
    for (const ScriptLayer& layer : opened->layers) scan(file, layer.source);
    if (entry) out_.opened = std::move(*opened);
  }

  void add(const std::string& name, const char* why, Place place) {
    const FolderFile* file = folder_.find(name);
    if (!file || name == out_.entry || !is_counted_kind(*file)) return;
    if (std::any_of(out_.helpers.begin(), out_.helpers.end(),
                    [&](const HelperFile& helper) { return helper.name == name; }))
      return;
    out_.helpers.push_back({name, why, std::move(place)});
  }

  static void note(std::vector<Located<std::string>>& list, const std::string& value, Place place) {
    if (std::none_of(list.begin(), list.end(), [&](const Located<std::string>& known) { return known.value == value; }))
      list.push_back({value, std::move(place)});
  }

  // The file of a local module: "a.b" -> a/b.py or a/b/__init__.py; empty for what is not beside the script.
  std::string local_module(const std::string& module) const {
    std::string path = module;
    while (path.starts_with(".")) path.erase(0, 1);
    std::replace(path.begin(), path.end(), '.', '/');
    for (const std::string& name : {path + ".py", path + "/__init__.py", path + ".so"})
      if (!path.empty() && folder_.find(name)) return name;
    return "";
  }

  void scan(const std::string& file, const std::string& source) {
    const auto tokens = python_tokens(source);
    if (!tokens) return;
    for (const PythonImport& import : python_imports(*tokens)) {
      const Place place{file, import.line, {}};
      std::string local = local_module(import.module);
      if (local.empty() && !import.name.empty()) local = local_module(import.module + "." + import.name);
      if (local.empty() && import.module.find('.') != std::string::npos)
        local = local_module(import.module.substr(0, import.module.find('.')));
      if (!local.empty()) {
        add(local, "imported", place);
        if (local.ends_with(".py")) visit(local, false);
      } else if (!import.module.starts_with(".") && !is_standard_module(import.module)) {
        note(out_.packages, import.module.substr(0, import.module.find('.')), place);
      }
      if (reaches_network(import.module)) note(out_.network, import.module, place);
    }
    for (const PythonCall& call : python_calls(*tokens)) {
      if (call.callee == "importlib.import_module" || call.callee == "__import__" || call.callee == "runpy.run_path")
        import_by_name(call, file);
      if (starts_process(call.callee)) process(call, file);
    }
    for (const PythonToken& token : *tokens)
      if (token.kind == PythonToken::Kind::string && token.text.size() < 200) named(token.text, {file, token.line, {}});
  }

  void import_by_name(const PythonCall& call, const std::string& file) {
    const Place place{file, call.line, {}};
    if (call.strings.empty()) {
      out_.unclear.push_back({call.callee + " of a name that is no constant", place});
      return;
    }
    const std::string local = call.strings[0].ends_with(".py") ? call.strings[0] : local_module(call.strings[0]);
    if (!local.empty() && folder_.find(local)) {
      add(local, "imported", place);
      visit(local, false);
    } else if (call.callee != "runpy.run_path" && !is_standard_module(call.strings[0])) {
      note(out_.packages, call.strings[0].substr(0, call.strings[0].find('.')), place);
    }
  }

  void process(const PythonCall& call, const std::string& file) {
    const Place place{file, call.line, {}};
    if (call.strings.empty()) {
      out_.unclear.push_back({call.callee + " of a command that is no constant", place});
      return;
    }
    std::string program = call.strings[0].substr(0, call.strings[0].find(' '));
    if (program == "python" || program == "python3") return;
    note(out_.programs, program, place);
    for (const std::string& text : call.strings) {
      const std::string word = text.substr(0, text.find(' '));
      if (is_network_program(word)) note(out_.network, word, place);
      if (text.ends_with(".py")) visit(text, false);
    }
  }

  // A string that is the name of a file in the folder: opened, compiled or loaded some way.
  void named(const std::string& text, Place place) {
    const std::string name = text.starts_with("./") ? text.substr(2) : text;
    if (name.find('.') == std::string::npos || name == folder_.submission_file) return;
    const FolderFile* file = folder_.find(name);
    if (!file || file->kind == "artifact") return;
    add(name, "named in the source", std::move(place));
  }

  const RecordFolder& folder_;
  ScriptClosure out_;
  std::set<std::string> visited_;
};

}  // namespace

ScriptClosure read_script_closure(const RecordFolder& folder) { return Closure(folder).run(); }

std::uint64_t wrapped_bytes(const std::string& source) {
  constexpr std::string_view kWrapper =
      "import lzma as L,base64 as "
      "B\nexec(L.decompress(B.b85decode(\"\"),format=L.FORMAT_RAW,filters=[{\"id\":L.FILTER_LZMA2}]))\n";
  lzma_options_lzma options{};
  lzma_lzma_preset(&options, 9 | LZMA_PRESET_EXTREME);
  // At most what FORMAT_RAW's reader assumes; a dictionary larger than the text changes nothing.
  options.dict_size =
      static_cast<std::uint32_t>(std::clamp<std::size_t>(source.size(), LZMA_DICT_SIZE_MIN, std::size_t{1} << 23));
  const lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  std::vector<std::uint8_t> out(source.size() + source.size() / 16 + 4096);
  std::size_t size = 0;
  if (lzma_raw_buffer_encode(filters, nullptr, reinterpret_cast<const std::uint8_t*>(source.data()), source.size(),
                             out.data(), &size, out.size()) != LZMA_OK)
    return source.size();
  const std::uint64_t groups = size / 4, rest = size % 4;
  return kWrapper.size() + groups * 5 + (rest > 0 ? rest + 1 : 0);
}

}  // namespace par5
