// text/chat_form.h: messages in the forms that a chat template reads.
//
// The same message can be written in several ways, and templates differ in the forms that they read: content
// as text or as a list of parts; a tool call's arguments as an object or as a string of JSON; the content of
// a message that only calls tools as null, "" or nothing. A template does not declare its forms, so ChatForm
// probes it: the template renders a conversation of a few marked words, and it reads a form if all the words
// come out as text. The results are kept.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "text/chat_template.h"

namespace r1 {

class ChatForm {
 public:
  using Render = std::function<std::string(const ChatInput&)>;  // may throw Error: the form is not taken
  explicit ChatForm(Render render) : render_(std::move(render)) {}

  // Joins content that is a list of text parts into one text, with newlines, unless the template reads lists
  // in messages of that role. Throws Error for a part without text that would have to be joined.
  Json with_readable_content(const Json& messages) const;
  // The same, and also: tool calls get the form that the template reads, thoughts get the names that
  // templates know, and text becomes a list of one part for a template that reads only lists. Content that
  // the template reads in no form stays as it is.
  Json adapted(const Json& messages) const;

 private:
  bool reads(const std::string& key, const std::function<bool()>& ask) const;
  bool reads_text(const std::string& role) const;
  bool reads_parts(const std::string& role) const;
  bool reads_content(const std::string& role, const Json& content) const;
  bool reads_calls(const std::string& content, bool as_object) const;
  void adapt_calls(Json& message) const;

  Render render_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, bool> known_;
};

}  // namespace r1
