"""Looking things up before anything is decided: the messages of a turn in, passages and the reason for them out."""

from graphs.state import ConversationState, Recalled, Search, default_language, last_words_of_ours, texts_of
from memory.router import offered_in, plan_recall
from models.offline.language import language_of
from tools.context import RunContext
from tools.knowledge import search_knowledge


async def recall_for(state: ConversationState, context: RunContext) -> Recalled:
    """Plan the turn's searches and make them, in one go.

    Raises:
        DatabaseUnavailable: the database did not answer.
    """
    texts = texts_of(state)
    plan = plan_recall(texts, offered=offered_in(last_words_of_ours(state)))
    passages = await search_knowledge(
        context,
        [query.text for query in plan.queries],
        language=language_of(" ".join(texts), default=default_language(state)),
    )
    searches = [
        Search(search=number, text=query.text, messages=list(query.messages), kind=query.kind)
        for number, query in enumerate(plan.queries, start=1)
    ]
    return Recalled(searches=searches, why=plan.why, passages=passages)
