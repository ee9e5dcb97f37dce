"""`raincheck cancel` and `raincheck requeue`: change what becomes of a request."""

from raincheck.cli.options import AsJson, BaseUrl, Ids, OneId
from raincheck.cli.show import say
from raincheck.cli.talk import connect, print_record


def cancel(ids: Ids, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Cancel requests. One that waits never starts, one under way is stopped; what has ended stays as it is.

    \b
    raincheck cancel req_0199…
    raincheck list --status pending --json | jq -r '.[].id' | xargs raincheck cancel
    """
    client = connect(base_url)
    for request_id in ids:
        request = client.requests.cancel(request_id)
        if as_json:
            print_record(request)
        else:
            say(f"{request.id} {request.status}")


def requeue(request_id: OneId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Submit a failed, cancelled or expired request again. Prints the id of the copy.

    \b
    raincheck requeue req_0199…
    """
    request = connect(base_url).requests.requeue(request_id)
    if as_json:
        print_record(request)
    else:
        say(request.id)
