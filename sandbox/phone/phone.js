/* The customer's phone: shows what the emulator tells, and tells it what the customer does.
   Words of others enter the page only as text nodes. */
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);
  const EMOJIS = ["👍", "❤️", "😂", "😮", "😢", "🙏"];
  const EDIT_MS_MAX = 15 * 60 * 1000;
  const IMAGE_BYTES_MAX = 5 * 1024 * 1024;
  const CLIP_BYTES_MAX = 16 * 1024 * 1024;
  const FILE_BYTES_MAX = 25 * 1024 * 1024;
  const LONG_PRESS_MS = 450;
  const NEAR_END_PX = 90;
  const OFFLINE_AFTER_MS = 1500;
  const CHIPS_UNTIL_MESSAGES = 4;

  const state = {
    customers: [], businesses: [], customer: null, business: null,
    messages: new Map(), chats: new Map(), unread: new Map(), typingUntil: new Map(),
    replyTo: null, editing: null, file: null, unseen: 0, pinned: true, scrollTop: 0,
    source: null, online: false, offlineTimer: 0, typingTimer: 0, queue: Promise.resolve(), generation: 0,
  };

  /* ---- small builders ---- */

  function el(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `#i-${name}`);
    svg.setAttribute("class", "i");
    svg.setAttribute("aria-hidden", "true");
    svg.append(use);
    return svg;
  }

  function button(className, label, onClick, ...children) {
    const node = el("button", className, ...children);
    node.type = "button";
    if (label) node.setAttribute("aria-label", label);
    node.addEventListener("click", onClick);
    return node;
  }

  const hueOf = (one) => `hue-${Math.max(0, state.customers.indexOf(one), state.businesses.indexOf(one) + 2) % 6}`;
  const initialsOf = (name) => {
    const words = name.trim().split(/\s+/);
    return (words.length > 1 ? [words[0], words[words.length - 1]] : [words[0]])
      .map((word) => [...word][0] ?? "").join("").toUpperCase();
  };
  const avatar = (one, extra = "") => {
    const node = el("span", `avatar ${hueOf(one)} ${extra}`, initialsOf(one.name));
    node.setAttribute("aria-hidden", "true");
    return node;
  };

  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const longDay = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
  function dayOf(at) {
    const today = new Date();
    const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
    if (at.toDateString() === today.toDateString()) return "Today";
    return at.toDateString() === yesterday.toDateString() ? "Yesterday" : longDay.format(at);
  }

  function sizeOf(bytes) {
    if (bytes < 1024) return `${bytes} B`;
    return bytes < 1024 * 1024 ? `${Math.round(bytes / 1024)} kB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`;
  }

  /* Links, *bold* and _italic_ as a phone shows them; everything else stays as it is. */
  const MARKS = /(https?:\/\/[^\s<>"]+)|(?<![\p{L}\p{N}*])\*([^\s*](?:[^*\n]*[^\s*])?)\*(?![\p{L}\p{N}*])|(?<![\p{L}\p{N}_])_([^\s_](?:[^_\n]*[^\s_])?)_(?![\p{L}\p{N}_])/gu;
  function formatted(text) {
    const parts = [];
    let at = 0;
    for (const match of text.matchAll(MARKS)) {
      parts.push(text.slice(at, match.index));
      at = match.index + match[0].length;
      if (match[1]) parts.push(...link(match[1]));
      else parts.push(el(match[2] ? "strong" : "em", "", match[2] ?? match[3]));
    }
    return [...parts, text.slice(at)];
  }

  const plain = (text) => text.replace(MARKS, (whole, address, bold, italic) => bold ?? italic ?? whole);

  function link(raw) {
    let address = raw.replace(/[.,;:!?'*_]+$/, "");
    while (address.endsWith(")") && address.split(")").length > address.split("(").length) address = address.slice(0, -1);
    if (!URL.canParse(address)) return [raw];
    const node = el("a", "", address);
    node.href = address;
    node.target = "_blank";
    node.rel = "noopener noreferrer nofollow";
    return [node, raw.slice(address.length)];
  }

  const isBigEmoji = (text) => /^\p{Extended_Pictographic}(\p{Extended_Pictographic}|\p{Emoji_Modifier}|\u200d|\ufe0f){0,11}$/u.test(text);

  function summaryOf(message) {
    if (!message) return "Message";
    if (message.deleted) return "Message deleted";
    if (message.text) return plain(message.text);
    return message.attachment ? message.attachment.name || kindName(message.kind) : kindName(message.kind);
  }
  const kindName = (kind) => ({ image: "Photo", video: "Video", audio: "Voice message", document: "Document", sticker: "Sticker" })[kind] ?? "Message";
  const authorOf = (message) => (message?.side === "customer" ? "You" : state.business.name);

  /* ---- talking to the emulator ---- */

  async function call(path, options) {
    let answer;
    try {
      answer = await fetch(path, options);
    } catch {
      throw new Error("The sandbox does not answer. Is it still running?");
    }
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.detail || `The sandbox answered ${answer.status}.`);
    return body;
  }

  function act(fields, file) {
    const whole = { business: state.business.id, ...fields };
    const path = `/sandbox/customers/${encodeURIComponent(state.customer.id)}/messages`;
    let options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(whole) };
    if (file) {
      const form = new FormData();
      for (const [name, value] of Object.entries(whole)) if (value !== null && value !== undefined) form.append(name, value);
      form.append("file", file, file.name);
      options = { method: "POST", body: form };
    }
    const done = state.queue.then(async () => {
      const { message } = await call(path, options);
      banner("");
      // The stream may have been faster, and may know more than this answer.
      if (!state.messages.has(message.id)) show(message);
    });
    state.queue = done.catch(() => {});
    return done;
  }

  const attempt = (fields) => act(fields).catch((error) => banner(error.message));

  function banner(words) {
    $("banner").textContent = words;
    $("banner").hidden = !words;
  }

  async function choose(customerId, businessId) {
    const generation = ++state.generation;
    state.source?.close();
    const known = state.customers.find((one) => one.id === customerId);
    const usual = businessId || known?.talks_to[0] || state.businesses[0]?.id;
    const query = new URLSearchParams({ customer: customerId, business: usual });
    const fresh = await call(`/sandbox/state?${query}`);
    if (generation !== state.generation) return;
    const changedPerson = state.customer?.id !== customerId;
    Object.assign(state, {
      customers: fresh.customers, businesses: fresh.businesses,
      customer: fresh.customers.find((one) => one.id === customerId),
      business: fresh.businesses.find((one) => one.id === usual),
      messages: new Map(fresh.transcript.map((message) => [message.id, message])),
      chats: new Map(Object.entries(fresh.chats)), unseen: 0,
    });
    if (changedPerson) state.unread.clear();
    state.unread.delete(usual);
    clearContext();
    renderAll();
    history.replaceState(null, "", `#${query}`);
    listen(fresh.last_event_id);
  }

  function listen(after) {
    const source = new EventSource(`/sandbox/events?${new URLSearchParams({ customer: state.customer.id, after })}`);
    state.source = source;
    source.onopen = () => online(true);
    source.onerror = () => {
      if (source !== state.source) return;
      state.offlineTimer ||= setTimeout(() => online(false), OFFLINE_AFTER_MS);
      if (source.readyState === EventSource.CLOSED) setTimeout(() => source === state.source && reload(), OFFLINE_AFTER_MS);
    };
    source.addEventListener("message", (event) => event.data && show(JSON.parse(event.data)));
    source.addEventListener("typing", (event) => typed(JSON.parse(event.data)));
    source.addEventListener("reset", reload);
  }

  function reload() {
    choose(state.customer.id, state.business.id).catch((error) => {
      banner(error.message);
      online(false);
      setTimeout(reload, OFFLINE_AFTER_MS);
    });
  }

  /* ---- what comes in ---- */

  function show(message) {
    if (message.customer !== state.customer.id) return;
    const last = state.chats.get(message.business);
    if (!last || last.at <= message.at) state.chats.set(message.business, message);
    const isNew = message.business === state.business.id ? !state.messages.has(message.id) : last?.id !== message.id && (!last || last.at < message.at);
    if (message.side === "business" && isNew) state.typingUntil.delete(message.business);
    if (message.business !== state.business.id) {
      if (isNew && message.side === "business") state.unread.set(message.business, (state.unread.get(message.business) ?? 0) + 1);
      renderBusinesses();
      return;
    }
    const before = [...state.messages.values()].at(-1);
    state.messages.set(message.id, message);
    if (isNew) append(message, before, true);
    else replace(message);
    if (message.chosen) refreshOffer(message.reply_to);
    if (!isNew) refreshQuotes(message);
    renderBusinesses();
    chips();
    presence();
    if (isNew && (state.pinned || message.side === "customer")) toEnd();
    else if (isNew) { state.unseen += 1; unseen(); }
  }

  function typed(sign) {
    const until = sign.until * 1000;
    if (until <= Date.now()) return;
    state.typingUntil.set(sign.business, until);
    if (sign.business === state.business.id) presence();
  }

  /* A stream ends now and then and comes back at once; only a longer silence is shown. */
  function online(is) {
    clearTimeout(state.offlineTimer);
    Object.assign(state, { online: is, offlineTimer: 0 });
    presence();
  }

  function presence() {
    const left = (state.typingUntil.get(state.business.id) ?? 0) - Date.now();
    clearTimeout(state.typingTimer);
    if (left > 0) state.typingTimer = setTimeout(presence, left);
    $("typing").hidden = left <= 0;
    if (left > 0 && state.pinned) toEnd();
    const now = !state.online ? "connecting" : left > 0 ? "typing" : "open";
    $("presence").dataset.state = now;
    $("presence").textContent = { connecting: "connecting…", typing: "typing…", open: "connected" }[now];
  }

  /* ---- the lists beside the phone ---- */

  function choice(pressed, picture, title, subtitle, badge, onClick) {
    const words = el("span", "", el("b", "", title), el("small", "", subtitle));
    const node = button("choice", "", onClick, picture, words, badge ? el("span", "badge", String(badge)) : null);
    node.setAttribute("aria-pressed", String(pressed));
    return el("li", "", node);
  }

  function renderPeople() {
    $("people").replaceChildren(...state.customers.map((one) => {
      const handle = one.wa_id ? `+${one.wa_id}` : `@${one.username ?? one.bsuid}`;
      const pressed = one.id === state.customer.id;
      const subtitle = one.about || handle;
      const node = choice(pressed, avatar(one), one.name, subtitle, 0, () => go(one.id, null));
      node.firstChild.title = handle;
      return node;
    }));
  }

  function renderBusinesses() {
    $("businesses").replaceChildren(...state.businesses.map((one) => {
      const last = state.chats.get(one.id);
      const subtitle = last ? `${last.side === "customer" ? "You: " : ""}${summaryOf(last)}` : one.about || one.display_phone_number;
      const pressed = one.id === state.business.id;
      return choice(pressed, avatar(one, "square"), one.name, subtitle, state.unread.get(one.id), () => go(state.customer.id, one.id));
    }));
  }

  function go(customerId, businessId) {
    drawer(false);
    choose(customerId, businessId).then(() => $("words").focus({ preventScroll: true }), (error) => banner(error.message));
  }

  function drawer(open) {
    $("side").classList.toggle("open", open);
    $("backdrop").hidden = !open;
    if (open) $("people").querySelector("button")?.focus();
  }

  /* ---- the conversation ---- */

  function renderAll() {
    renderPeople();
    renderBusinesses();
    document.title = `${state.customer.name} to ${state.business.name} · Chowk sandbox`;
    $("business-name").textContent = state.business.name;
    $("business-avatar").className = `avatar square ${hueOf(state.business)}`;
    $("business-avatar").textContent = initialsOf(state.business.name);
    $("me").textContent = `as ${state.customer.name}`;
    $("words").placeholder = `Message ${state.business.name}`;
    $("log").replaceChildren();
    let before = null;
    for (const message of state.messages.values()) {
      append(message, before, false);
      before = message;
    }
    if (!before) {
      const words = el("li", "empty", avatar(state.business, "square"), el("b", "", state.business.name));
      words.append(state.business.about || "Say hello: a message from here reaches the organisation's system at once.");
      $("log").append(words);
    }
    chips();
    presence();
    toEnd();
  }

  function append(message, before, isNew) {
    const at = new Date(message.at);
    $("log").querySelector(".empty")?.remove();
    const newDay = !before || new Date(before.at).toDateString() !== at.toDateString();
    if (newDay) $("log").append(el("li", "day", dayOf(at)));
    const node = bubbleOf(message, newDay || before.side !== message.side);
    if (isNew) node.classList.add("new");
    $("log").append(node);
  }

  const nodeOf = (id) => [...$("log").children].find((node) => node.dataset.id === id);

  function replace(message) {
    const old = nodeOf(message.id);
    if (!old) return;
    const focused = old.querySelector(".more") === document.activeElement;
    const node = bubbleOf(message, old.classList.contains("first"));
    const loaded = old.querySelector(".media");
    const fresh = node.querySelector(".media");
    if (loaded && fresh && loaded.src === fresh.src) fresh.replaceWith(loaded);
    old.replaceWith(node);
    if (focused) node.querySelector(".more")?.focus();
  }

  function refreshOffer(id) {
    const offer = state.messages.get(id);
    if (offer?.buttons.length) replace(offer);
  }

  function refreshQuotes(message) {
    for (const other of state.messages.values()) if (other.reply_to === message.id) replace(other);
  }

  function bubbleOf(message, first) {
    const node = el("li", `message ${message.side}${first ? " first" : ""}${message.deleted ? " deleted" : ""}`);
    node.dataset.id = message.id;
    node.dataset.tick = message.tick;
    const bubble = el("div", "bubble");
    if (message.by_app) bubble.append(el("div", "by", "A person, from the organisation's own app"));
    if (message.reply_to && !message.deleted) bubble.append(quoted(message.reply_to));
    if (message.attachment) bubble.append(attachment(message));
    if (message.header) bubble.append(el("div", "head", message.header));
    const words = message.deleted ? (message.side === "customer" ? "You deleted this message" : "Message deleted") : message.text;
    if (words) bubble.append(el("div", `text${isBigEmoji(words) ? " big" : ""}`, ...formatted(words)));
    if (message.footer) bubble.append(el("div", "footer", message.footer));
    bubble.append(meta(message));
    if (!message.deleted) bubble.append(moreButton(message));
    node.append(bubble);
    const reactions = Object.values(message.reactions);
    if (reactions.length) node.append(el("div", "reactions", [...new Set(reactions)].join(" "), reactions.length > 1 ? ` ${reactions.length}` : ""));
    if (message.buttons.length || message.rows.length) node.append(options(message));
    if (message.trouble && message.side === "customer") node.append(el("div", "trouble", message.trouble));
    return node;
  }

  function meta(message) {
    const at = new Date(message.at);
    const time = el("time", "", clock.format(at));
    time.dateTime = message.at;
    const node = el("div", "meta", message.edited && !message.deleted ? el("span", "", "edited") : null, time);
    if (message.side === "customer") {
      const ticks = icon(message.tick === "sent" ? "tick" : "ticks");
      const said = { sent: "Sent", delivered: "Delivered", read: "Read" }[message.tick];
      const hold = el("span", message.tick === "read" ? "read" : "", ticks);
      hold.title = said;
      hold.setAttribute("role", "img");
      hold.setAttribute("aria-label", said);
      node.append(hold);
    }
    return node;
  }

  function quoted(id) {
    const original = state.messages.get(id);
    return button("quoted", "", () => flash(id), el("b", "", authorOf(original)), el("span", "", summaryOf(original)));
  }

  function flash(id) {
    const node = nodeOf(id);
    if (!node) return;
    node.scrollIntoView({ block: "center", behavior: "smooth" });
    node.classList.remove("flash");
    requestAnimationFrame(() => node.classList.add("flash"));
  }

  function attachment(message) {
    const { url, mime, name, size_bytes: size } = message.attachment;
    if (message.kind === "image" || message.kind === "sticker") {
      const image = el("img", "media");
      image.src = url;
      image.alt = message.text || name || "Photo";
      return image;
    }
    if (message.kind === "audio" || message.kind === "video") {
      const player = el(message.kind, "media");
      player.controls = true;
      player.preload = "metadata";
      player.src = url;
      return player;
    }
    const card = el("a", "document", icon("file"), el("span", "", el("b", "", name || "Document"), el("small", "", `${sizeOf(size)} · ${mime}`)));
    card.href = url;
    card.download = name || "";
    return card;
  }

  function options(message) {
    const holder = el("div", "buttons");
    if (message.rows.length) {
      holder.append(button("option", "", () => openSheet(message), icon("list"), message.open_label));
      return holder;
    }
    const reply = [...state.messages.values()].find((other) => other.chosen && other.reply_to === message.id);
    for (const offer of message.buttons) {
      const node = button(`option${reply?.chosen === offer.id ? " chosen" : ""}`, "", () => {
        for (const sibling of holder.children) sibling.disabled = true;
        act({ kind: "button_reply", target: message.id, choice: offer.id }).catch((error) => { banner(error.message); replace(message); });
      }, offer.title);
      node.disabled = Boolean(reply);
      holder.append(node);
    }
    return holder;
  }

  function openSheet(message) {
    $("sheet-title").textContent = message.open_label;
    $("sheet-rows").replaceChildren();
    let section = null;
    for (const row of message.rows) {
      if (row.section && row.section !== section) $("sheet-rows").append(el("h3", "", (section = row.section)));
      $("sheet-rows").append(button("row-choice", "", () => {
        $("sheet").close();
        attempt({ kind: "list_reply", target: message.id, choice: row.id });
      }, el("b", "", row.title), row.description ? el("small", "", row.description) : null));
    }
    $("sheet").showModal();
  }

  /* ---- the menu of a message ---- */

  function moreButton(message) {
    const node = button("more", "Message actions", () => openMenu(message, node), icon("more"));
    node.setAttribute("aria-haspopup", "menu");
    node.setAttribute("aria-expanded", "false");
    return node;
  }

  function openMenu(message, opener) {
    closeMenu();
    const menu = $("menu");
    const emojis = el("div", "emojis", ...EMOJIS.map((emoji) => {
      const mine = message.reactions.customer === emoji;
      const node = button("", `React with ${emoji}`, () => { closeMenu(); attempt({ kind: "reaction", target: message.id, text: mine ? "" : emoji }); }, emoji);
      node.setAttribute("role", "menuitemcheckbox");
      node.setAttribute("aria-checked", String(mine));
      return node;
    }));
    const acts = [["reply", "Reply", () => quote(message)], ["copy", "Copy", () => navigator.clipboard?.writeText(message.text ?? "")]];
    const own = message.side === "customer";
    if (own && message.kind === "text" && Date.now() - new Date(message.at) < EDIT_MS_MAX) acts.push(["edit", "Edit", () => edit(message)]);
    if (own) acts.push(["delete", "Delete", () => attempt({ kind: "revoke", target: message.id })]);
    menu.replaceChildren(emojis, ...acts.map(([name, title, run]) => {
      const node = button(`act${name === "delete" ? " danger" : ""}`, "", () => { closeMenu(); run(); }, icon(name), title);
      node.setAttribute("role", "menuitem");
      return node;
    }));
    menu.hidden = false;
    menu.opener = opener;
    opener.setAttribute("aria-expanded", "true");
    const box = opener.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.right - menu.offsetWidth), innerWidth - menu.offsetWidth - 8);
    const below = box.bottom + 6 + menu.offsetHeight < innerHeight - 8;
    menu.style.left = `${left}px`;
    menu.style.top = `${below ? box.bottom + 6 : Math.max(8, box.top - 6 - menu.offsetHeight)}px`;
    menu.querySelector("button").focus({ preventScroll: true });
  }

  function closeMenu(refocus) {
    const menu = $("menu");
    if (menu.hidden) return;
    menu.hidden = true;
    menu.opener.setAttribute("aria-expanded", "false");
    if (refocus) menu.opener.focus({ preventScroll: true });
  }

  function menuKey(event) {
    if (event.key === "Escape" || event.key === "Tab") { event.preventDefault(); closeMenu(true); return; }
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const items = [...$("menu").querySelectorAll("button")];
    items[(items.indexOf(document.activeElement) + steps[event.key] + items.length) % items.length].focus();
  }

  /* ---- the composer ---- */

  function quote(message) {
    clearContext();
    state.replyTo = message.id;
    context(authorOf(message), summaryOf(message));
  }

  function edit(message) {
    clearContext();
    state.editing = message.id;
    $("words").value = message.text;
    context("Edit message", message.text);
    grow();
  }

  function context(title, words) {
    $("context-title").textContent = title;
    $("context-text").textContent = words;
    $("context").hidden = false;
    $("words").focus();
  }

  function clearContext() {
    if (state.editing) $("words").value = "";
    Object.assign(state, { replyTo: null, editing: null });
    $("context").hidden = true;
    grow();
  }

  function attach(file) {
    if (!file) return;
    if (file.size > FILE_BYTES_MAX) return banner(`${file.name} has ${sizeOf(file.size)}; a file may have ${sizeOf(FILE_BYTES_MAX)}.`);
    if (!file.size) return banner(`${file.name} is empty.`);
    banner("");
    clearContext();
    state.file = file;
    $("attached-name").textContent = file.name;
    $("attached-size").textContent = sizeOf(file.size);
    $("attached").hidden = false;
    grow();
    $("words").focus();
  }

  function detach() {
    state.file = null;
    $("file").value = "";
    $("attached").hidden = true;
    grow();
  }

  function kindOf(file) {
    const family = file.type.split("/")[0];
    if (/^image\/(jpeg|png)$/.test(file.type) && file.size <= IMAGE_BYTES_MAX) return "image";
    return (family === "audio" || family === "video") && file.size <= CLIP_BYTES_MAX ? family : "document";
  }

  async function send(words) {
    const { replyTo, editing, file } = state;
    if (!words.trim() && !file) return;
    $("words").value = "";
    state.editing = null;
    clearContext();
    detach();
    try {
      if (editing) await act({ kind: "edit", target: editing, text: words });
      else if (file && kindOf(file) === "audio") {
        await act({ kind: "audio", reply_to: replyTo }, file);
        if (words.trim()) await act({ kind: "text", text: words });
      } else if (file) await act({ kind: kindOf(file), text: words, reply_to: replyTo }, file);
      else await act({ kind: "text", text: words, reply_to: replyTo });
    } catch (error) {
      banner(error.message);
      if (!$("words").value) $("words").value = words;
      if (file) attach(file), banner(error.message);
      grow();
    }
  }

  function grow() {
    const words = $("words");
    words.style.height = "auto";
    words.style.height = `${words.scrollHeight + 2}px`;
    $("send").disabled = !words.value.trim() && !state.file;
  }

  function chips() {
    const usual = state.customer.talks_to[0];
    const own = !usual || usual === state.business.id ? state.customer.try_asking : [];
    const asked = own.length ? own : state.business.suggestions;
    const said = [...state.messages.values()].filter((message) => message.side === "customer").map((message) => message.text);
    const left = said.length < CHIPS_UNTIL_MESSAGES ? asked.filter((words) => !said.includes(words)) : [];
    $("chips").hidden = !left.length;
    $("chips").classList.toggle("later", said.length > 0);
    $("chips").replaceChildren(...left.map((words) => button("chip", "", () => send(words), words)));
  }

  /* ---- the end of the conversation ---- */

  const atEnd = () => $("scroller").scrollHeight - $("scroller").scrollTop - $("scroller").clientHeight < NEAR_END_PX;

  function toEnd() {
    $("scroller").scrollTop = $("scroller").scrollHeight;
    Object.assign(state, { pinned: true, scrollTop: $("scroller").scrollTop });
    unseen();
  }

  /* Only a hand that scrolls up lets go of the end; growing messages and a growing composer do not. */
  function scrolled() {
    const top = $("scroller").scrollTop;
    if (atEnd()) state.pinned = true;
    else if (top < state.scrollTop) state.pinned = false;
    state.scrollTop = top;
    unseen();
  }

  function unseen() {
    if (state.pinned) state.unseen = 0;
    $("to-end").hidden = state.pinned;
    $("unseen").hidden = !state.unseen;
    $("unseen").textContent = state.unseen || "";
  }

  /* ---- hands ---- */

  function wire() {
    $("composer").addEventListener("submit", (event) => { event.preventDefault(); send($("words").value); });
    $("words").addEventListener("input", grow);
    $("words").addEventListener("keydown", (event) => {
      const touch = matchMedia("(pointer: coarse)").matches;
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !touch) { event.preventDefault(); send($("words").value); }
      if (event.key === "Escape") clearContext();
    });
    $("words").addEventListener("paste", (event) => { if (event.clipboardData.files.length) { event.preventDefault(); attach(event.clipboardData.files[0]); } });
    $("context-close").addEventListener("click", () => { clearContext(); $("words").focus(); });
    $("attached-close").addEventListener("click", () => { detach(); $("words").focus(); });
    $("attach").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => attach($("file").files[0]));
    $("scroller").addEventListener("scroll", () => { scrolled(); closeMenu(); }, { passive: true });
    $("to-end").addEventListener("click", toEnd);
    $("sheet-close").addEventListener("click", () => $("sheet").close());
    $("sheet").addEventListener("click", (event) => event.target === $("sheet") && $("sheet").close());
    $("open-side").addEventListener("click", () => drawer(true));
    $("close-side").addEventListener("click", () => { drawer(false); $("open-side").focus(); });
    $("backdrop").addEventListener("click", () => drawer(false));
    $("menu").addEventListener("keydown", menuKey);
    document.addEventListener("pointerdown", (event) => !event.target.closest("#menu, .more") && closeMenu());
    document.addEventListener("keydown", (event) => event.key === "Escape" && drawer(false));
    addEventListener("resize", () => closeMenu());
    const sizes = new ResizeObserver(() => state.pinned && toEnd());
    sizes.observe($("scroller"));
    sizes.observe($("log"));
    wireLongPress();
    wireDrop();
  }

  function wireLongPress() {
    let timer = 0;
    const opened = (event) => {
      const node = event.target.closest(".message");
      const more = node?.querySelector(".more");
      const message = state.messages.get(node?.dataset.id);
      if (more && message && !event.target.closest("a, .option")) openMenu(message, more);
    };
    $("log").addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "touch") return;
      timer = setTimeout(() => opened(event), LONG_PRESS_MS);
    });
    for (const name of ["pointerup", "pointercancel", "pointermove"]) $("log").addEventListener(name, () => clearTimeout(timer));
    $("log").addEventListener("contextmenu", (event) => {
      if (!event.target.closest(".bubble") || event.target.closest("a, img") || String(getSelection())) return;
      event.preventDefault();
      if ($("menu").hidden) opened(event);
    });
  }

  function wireDrop() {
    const phone = $("phone");
    phone.addEventListener("dragover", (event) => { event.preventDefault(); phone.classList.add("dropping"); });
    phone.addEventListener("dragleave", (event) => { if (!phone.contains(event.relatedTarget)) phone.classList.remove("dropping"); });
    phone.addEventListener("drop", (event) => { event.preventDefault(); phone.classList.remove("dropping"); attach(event.dataTransfer.files[0]); });
  }

  async function begin() {
    wire();
    const asked = new URLSearchParams(location.hash.slice(1));
    const fresh = await call("/sandbox/state");
    Object.assign(state, { customers: fresh.customers, businesses: fresh.businesses });
    if (!fresh.customers.length || !fresh.businesses.length) throw new Error("The sandbox has no customers or no organisations: see its configuration.");
    const customer = fresh.customers.find((one) => one.id === asked.get("customer")) ?? fresh.customers[0];
    const business = fresh.businesses.find((one) => one.id === asked.get("business"));
    await choose(customer.id, business?.id);
    grow();
    if (!matchMedia("(pointer: coarse)").matches) $("words").focus();
  }

  begin().catch((error) => banner(error.message));
})();
